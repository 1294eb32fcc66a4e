package govcli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// client speaks CometBFT's JSON-RPC, just the two calls that governance needs.
type client struct{ url string }

type nonceAnswer struct {
	ChainID    string `json:"chainId"`
	Last       uint64 `json:"last"`
	LastDigest string `json:"lastDigest"`
	Next       uint64 `json:"next"`
	Height     int64  `json:"-"`
}

func (c *client) nonce(ctx context.Context) (*nonceAnswer, error) {
	var result struct {
		Response struct {
			Code   uint32 `json:"code"`
			Log    string `json:"log"`
			Value  []byte `json:"value"`
			Height string `json:"height"`
		} `json:"response"`
	}
	if err := c.call(ctx, "abci_query", map[string]any{"path": "/nonce"}, &result); err != nil {
		return nil, err
	}
	if result.Response.Code != 0 {
		return nil, fmt.Errorf("%s: abci_query /nonce answers code %d: %s", c.url, result.Response.Code, result.Response.Log)
	}
	answer := &nonceAnswer{}
	if err := json.Unmarshal(result.Response.Value, answer); err != nil {
		return nil, fmt.Errorf("%s: abci_query /nonce: is this a jil-abci chain? %w", c.url, err)
	}
	answer.Height, _ = strconv.ParseInt(result.Response.Height, 10, 64)
	return answer, nil
}

func (c *client) broadcast(ctx context.Context, raw []byte) error {
	var result struct {
		Code uint32 `json:"code"`
		Log  string `json:"log"`
	}
	if err := c.call(ctx, "broadcast_tx_sync", map[string]any{"tx": raw}, &result); err != nil {
		return err
	}
	if result.Code != 0 {
		return fmt.Errorf("refused with code %d: %s", result.Code, result.Log)
	}
	return nil
}

func (c *client) call(ctx context.Context, method string, params, into any) error {
	request, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return err
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(request))
	if err != nil {
		return fmt.Errorf("rpc address %q: %w", c.url, err)
	}
	post.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(post)
	if err != nil {
		return fmt.Errorf("cannot reach the chain's RPC: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("%s: %w", c.url, err)
	}
	var envelope struct {
		Result json.RawMessage `json:"result"`
		Error  *struct {
			Message string `json:"message"`
			Data    string `json:"data"`
		} `json:"error"`
	}
	if err := json.Unmarshal(body, &envelope); err != nil {
		return fmt.Errorf("%s: HTTP %d, not JSON-RPC: %w", c.url, response.StatusCode, err)
	}
	if envelope.Error != nil {
		return fmt.Errorf("%s %s: %s %s", c.url, method, envelope.Error.Message, envelope.Error.Data)
	}
	return json.Unmarshal(envelope.Result, into)
}
