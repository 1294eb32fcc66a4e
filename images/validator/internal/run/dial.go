package run

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/p2p"

	"jil.io/validator/internal/peers"
)

// Bounds of the pause between two dials of a peer that is away; it doubles from the first to the last.
const (
	firstDialPause = time.Second
	lastDialPause  = 15 * time.Second
)

// dialer keeps the connections to the configured peers, in place of CometBFT's own persistent peers, which
//   - resolve a name once at the start, forget the peer in silence when that fails, and keep a changed address for ever;
//   - after two minutes pause for longer and longer, up to 16 hours, and then give up;
//   - are lost when a peer hangs up right after the handshake, which is what a peer does that does not list us yet
//     (the reconnecting routine is still marked as running and the next one ends at once).
//
// Every dial here resolves the name anew, and no peer is ever given up.
type dialer struct {
	peers   []string // id@host:port
	last    time.Duration
	allowed *peers.Allowlist // nil: everybody
	logger  log.Logger
}

// newDialer takes the configuration's persistent_peers. It fails on what is no address, whatever the name service says.
func newDialer(persistentPeers string, last time.Duration, allowed *peers.Allowlist, logger log.Logger) (*dialer, error) {
	d := &dialer{last: last, allowed: allowed, logger: logger}
	if d.last <= 0 {
		d.last = lastDialPause
	}
	for peer := range strings.SplitSeq(persistentPeers, ",") {
		if peer = strings.TrimSpace(peer); peer == "" {
			continue
		}
		if err := checkPeer(peer); err != nil {
			return nil, fmt.Errorf("configuration p2p.persistent_peers: %q: %w; want <node id>@<host>:<port>", peer, err)
		}
		d.peers = append(d.peers, peer)
	}
	return d, nil
}

func checkPeer(peer string) error {
	id, address, found := strings.Cut(peer, "@")
	if !found {
		return errors.New("the node id is missing")
	}
	if len(id) != 2*p2p.IDByteLength || strings.Trim(id, "0123456789abcdef") != "" {
		return errors.New("the node id is not 40 lower-case hex digits")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if number, err := strconv.ParseUint(port, 10, 16); host == "" || err != nil || number == 0 {
		return errors.New("host or port is missing or wrong")
	}
	return nil
}

// run dials until ctx ends.
func (d *dialer) run(ctx context.Context, sw *p2p.Switch) {
	for _, peer := range d.peers {
		go d.keep(ctx, sw, peer)
	}
}

func (d *dialer) keep(ctx context.Context, sw *p2p.Switch, peer string) {
	id := p2p.ID(peer[:2*p2p.IDByteLength])
	if id == sw.NodeInfo().ID() {
		return
	}
	pause, problem := firstDialPause, ""
	for {
		connected := sw.Peers().Has(id)
		if !connected && (d.allowed == nil || d.allowed.Allowed(string(id))) {
			err := d.dial(sw, peer)
			if err != nil && err.Error() != problem {
				problem = err.Error()
				d.logger.Info("peer cannot be reached, it is dialled again and again", "peer", peer, "problem", problem)
			}
		}
		if connected {
			pause, problem = firstDialPause, ""
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause + rand.N(pause/2)):
		}
		if !connected {
			pause = min(2*pause, d.last)
		}
	}
}

func (d *dialer) dial(sw *p2p.Switch, peer string) error {
	address, err := p2p.NewNetAddressString(peer)
	if err != nil {
		return err
	}
	err = sw.DialPeerWithAddress(address)
	var busy p2p.ErrCurrentlyDialingOrExistingAddress
	if errors.As(err, &busy) {
		return nil
	}
	return err
}

// dropUnlisted ends the sessions of peers that are no longer on the list; the ABCI filter sees only new connections.
func dropUnlisted(ctx context.Context, sw *p2p.Switch, allowed *peers.Allowlist, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, peer := range sw.Peers().List() {
			if !allowed.Allowed(string(peer.ID())) {
				sw.Logger.Info("peer dropped: no longer in the peer list", "id", peer.ID())
				sw.StopPeerGracefully(peer)
			}
		}
	}
}
