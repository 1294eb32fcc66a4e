package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cometbft/cometbft/crypto/ed25519"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/types"

	"jil.io/validator/internal/guard"
)

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "jil-validator")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "jil-validator")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		panic(fmt.Sprintf("cannot build the program under test: %v", err))
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// member is one node: its own volume and mounts, at most one process.
type member struct {
	t       *testing.T
	name    string
	home    string
	mounts  string
	key     ed25519.PrivKey
	nodeKey p2p.NodeKey
	p2pPort int
	rpcPort int
	process *exec.Cmd
	exited  chan error
	pods    int
}

func newMember(t *testing.T, name string) *member {
	t.Helper()
	m := &member{
		t: t, name: name, home: t.TempDir(), mounts: t.TempDir(), key: ed25519.GenPrivKey(), nodeKey: p2p.NodeKey{PrivKey: ed25519.GenPrivKey()},
		p2pPort: freePort(t), rpcPort: freePort(t),
	}
	m.json("priv_validator_key.json", privval.FilePVKey{Address: m.key.PubKey().Address(), PubKey: m.key.PubKey(), PrivKey: m.key})
	m.json("node_key.json", m.nodeKey)
	t.Cleanup(func() {
		m.kill()
		if t.Failed() {
			log, _ := os.ReadFile(m.path("log"))
			t.Logf("--- %s, last output:\n%s", m.name, log[max(0, len(log)-3000):])
		}
	})
	return m
}

// drawn are the ports already given to a member: one that is not up yet does not listen.
var drawn = map[int]bool{}

// freePort is a port below the range from which the kernel takes source ports: a member that starts late, or again, would
// find a port that the kernel itself gave out taken by some connection.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 20000 + rand.IntN(12000)
		if drawn[port] {
			continue
		}
		drawn[port] = true
		if listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = listener.Close()
			return port
		}
	}
	t.Fatal("no port between 20000 and 32000 is free on 127.0.0.1")
	return 0
}

func (m *member) path(name string) string { return filepath.Join(m.mounts, name) }

func (m *member) json(name string, value any) {
	m.t.Helper()
	raw, err := cmtjson.Marshal(value)
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(name, raw)
}

// write replaces a file as a whole, as the kubelet does with mounts.
func (m *member) write(name string, content []byte) {
	m.t.Helper()
	if err := os.WriteFile(m.path(name+".new"), content, 0o600); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(m.path(name+".new"), m.path(name)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *member) id() string      { return string(m.nodeKey.ID()) }
func (m *member) address() string { return m.key.PubKey().Address().String() }
func (m *member) rpc() string     { return fmt.Sprintf("http://127.0.0.1:%d", m.rpcPort) }

func (m *member) configure(genesis []byte, dial []*member) {
	m.t.Helper()
	peers := []string{}
	for _, peer := range dial {
		if peer != m {
			peers = append(peers, fmt.Sprintf("%s@127.0.0.1:%d", peer.id(), peer.p2pPort))
		}
	}
	m.write("genesis.json", genesis)
	m.write("config.toml", fmt.Appendf(nil, `
moniker = %q
filter_peers = true
log_level = "info"
log_format = "json"
[rpc]
laddr = "tcp://127.0.0.1:%d"
[p2p]
laddr = "tcp://127.0.0.1:%d"
persistent_peers = %q
persistent_peers_max_dial_period = "1s"
pex = false
addr_book_strict = false
allow_duplicate_ip = true
[consensus]
timeout_propose = "1s"
timeout_commit = "100ms"
`, m.name, m.rpcPort, m.p2pPort, strings.Join(peers, ",")))
}

func (m *member) allow(peers ...*member) {
	m.t.Helper()
	ids := []string{}
	for _, peer := range peers {
		ids = append(ids, peer.id())
	}
	raw, _ := json.Marshal(map[string][]string{"peers": ids})
	m.write("peers.json", raw)
}

// guard runs the start guard of a new pod with the operator's permit, and returns its output and exit.
func (m *member) guard(mode guard.Mode, minHeight int64) (string, error) {
	m.t.Helper()
	m.pods++
	uid := fmt.Sprintf("%s-%d", m.name, m.pods)
	permit := fmt.Sprintf(`{"podUID":%q,"mode":%q,"minHeight":%d}`, uid, mode, minHeight)
	m.write("annotations", fmt.Appendf(nil, "%s=%q\n", guard.Annotation, permit))
	return m.run(20*time.Second, "", "guard", "--podinfo", m.path("annotations"), "--pod-uid", uid, "--home", m.home)
}

// run runs the program to its end.
func (m *member) run(timeout time.Duration, stdin string, args ...string) (string, error) {
	m.t.Helper()
	command := exec.Command(binary, args...)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	output := &bytes.Buffer{}
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), output, output
	if err := command.Start(); err != nil {
		m.t.Fatal(err)
	}
	timer := time.AfterFunc(timeout, func() { _ = command.Process.Kill() })
	defer timer.Stop()
	err := command.Wait()
	return output.String(), err
}

func (m *member) startArgs() []string {
	return []string{
		"start", "--home", m.home, "--config", m.path("config.toml"), "--genesis", m.path("genesis.json"),
		"--validator-key", m.path("priv_validator_key.json"), "--node-key", m.path("node_key.json"), "--peers", m.path("peers.json"),
	}
}

func (m *member) start() {
	m.t.Helper()
	log, err := os.OpenFile(m.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	m.process = exec.Command(binary, m.startArgs()...)
	m.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	m.process.Stdout, m.process.Stderr = log, log
	if err := m.process.Start(); err != nil {
		m.t.Fatal(err)
	}
	exited := make(chan error, 1)
	process := m.process
	go func() { exited <- process.Wait() }()
	m.exited = exited
}

// wait returns how the process ended.
func (m *member) wait(timeout time.Duration) error {
	m.t.Helper()
	select {
	case err := <-m.exited:
		m.process = nil
		return err
	case <-time.After(timeout):
		m.t.Fatalf("%s still runs after %s", m.name, timeout)
		return nil
	}
}

func (m *member) terminate() error {
	m.t.Helper()
	if err := m.process.Process.Signal(syscall.SIGTERM); err != nil {
		m.t.Fatal(err)
	}
	return m.wait(20 * time.Second)
}

func (m *member) kill() {
	if m.process != nil {
		_ = m.process.Process.Kill()
		<-m.exited
		m.process = nil
	}
}

var httpClient = http.Client{Timeout: 5 * time.Second}

// get asks the RPC and unpacks result into `into`.
func (m *member) get(path string, into any) error {
	response, err := httpClient.Get(m.rpc() + path)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	var envelope struct {
		Result json.RawMessage
		Error  *struct{ Message, Data string }
	}
	if err := json.Unmarshal(raw, &envelope); err != nil {
		return err
	}
	if envelope.Error != nil {
		return fmt.Errorf("%s: %s", envelope.Error.Message, envelope.Error.Data)
	}
	return json.Unmarshal(envelope.Result, into)
}

func (m *member) height() int64 {
	var status struct {
		SyncInfo struct {
			Height string `json:"latest_block_height"`
		} `json:"sync_info"`
	}
	if err := m.get("/status", &status); err != nil {
		return -1
	}
	height, _ := strconv.ParseInt(status.SyncInfo.Height, 10, 64)
	return height
}

func (m *member) peers() int {
	var info struct {
		Peers string `json:"n_peers"`
	}
	if err := m.get("/net_info", &info); err != nil {
		return -1
	}
	peers, _ := strconv.Atoi(info.Peers)
	return peers
}

// validatorPower is the member's power in the set that signs the given height, 0 when it is not in it.
func (m *member) validatorPower(of *member, height int64) int64 {
	m.t.Helper()
	var answer struct {
		Validators []struct {
			Address string
			Power   string `json:"voting_power"`
		}
	}
	if err := m.get(fmt.Sprintf("/validators?height=%d&per_page=100", height), &answer); err != nil {
		m.t.Fatal(err)
	}
	for _, v := range answer.Validators {
		if v.Address == of.address() {
			power, _ := strconv.ParseInt(v.Power, 10, 64)
			return power
		}
	}
	return 0
}

func (m *member) query(path string) string {
	m.t.Helper()
	var answer struct {
		Response struct{ Value []byte }
	}
	if err := m.get("/abci_query?path="+url.QueryEscape(strconv.Quote(path)), &answer); err != nil {
		m.t.Fatal(err)
	}
	return string(answer.Response.Value)
}

// send returns the code with which CheckTx answered.
func (m *member) send(raw string) (uint32, string) {
	m.t.Helper()
	var answer struct {
		Code uint32
		Log  string
	}
	if err := m.get(fmt.Sprintf("/broadcast_tx_sync?tx=0x%x", raw), &answer); err != nil {
		m.t.Fatal(err)
	}
	return answer.Code, answer.Log
}

// transactionHeight is the block that holds the transaction.
func (m *member) transactionHeight(raw string) int64 {
	m.t.Helper()
	var answer struct{ Height string }
	eventually(m.t, 20*time.Second, "the transaction is indexed", func() bool {
		return m.get(fmt.Sprintf("/tx?hash=0x%X", types.Tx(raw).Hash()), &answer) == nil
	})
	height, _ := strconv.ParseInt(answer.Height, 10, 64)
	return height
}

func (m *member) logged(text string) bool {
	raw, _ := os.ReadFile(m.path("log"))
	return bytes.Contains(raw, []byte(text))
}

func eventually(t *testing.T, timeout time.Duration, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(timeout); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("not within %s: %s", timeout, what)
}

func genesis(t *testing.T, founders []*member) []byte {
	t.Helper()
	doc := types.GenesisDoc{ChainID: "jil-test", GenesisTime: time.Now().Add(-time.Minute), ConsensusParams: types.DefaultConsensusParams()}
	for _, founder := range founders {
		doc.Validators = append(doc.Validators, types.GenesisValidator{PubKey: founder.key.PubKey(), Power: 10, Name: founder.name})
	}
	if err := doc.ValidateAndComplete(); err != nil {
		t.Fatal(err)
	}
	raw, err := cmtjson.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// governance makes a signed transaction with the real command line.
func governance(t *testing.T, at *member, signers []*member, change ...string) string {
	t.Helper()
	text, err := at.run(20*time.Second, "", append([]string{"gov", "propose", "--rpc", at.rpc()}, change...)...)
	if err != nil {
		t.Fatalf("propose: %v: %s", err, text)
	}
	for _, signer := range signers {
		command := exec.Command(binary, "gov", "sign", "--key", signer.path("priv_validator_key.json"))
		command.Stdin = strings.NewReader(text)
		out, err := command.Output()
		if err != nil {
			t.Fatalf("sign: %v", err)
		}
		text = string(out)
	}
	return strings.TrimSpace(text)
}

func submit(t *testing.T, at *member, raw string) (string, error) {
	t.Helper()
	return at.run(40*time.Second, raw, "gov", "submit", "--rpc", at.rpc(), "--timeout", "30s")
}

func mustSubmit(t *testing.T, at *member, raw string) {
	t.Helper()
	if said, err := submit(t, at, raw); err != nil {
		t.Fatalf("submit: %v: %s", err, said)
	}
}

func pubKey(m *member) string { return base64.StdEncoding.EncodeToString(m.key.PubKey().Bytes()) }
