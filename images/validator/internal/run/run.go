// Package run is a validator's process: CometBFT with jil-abci inside, on one locked volume.
package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	dbm "github.com/cometbft/cometbft-db"
	"github.com/cometbft/cometbft/config"
	"github.com/cometbft/cometbft/consensus"
	cmtflags "github.com/cometbft/cometbft/libs/cli/flags"
	"github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/proxy"

	"jil.io/validator/internal/app"
	"jil.io/validator/internal/peers"
	"jil.io/validator/internal/volume"
)

// Run runs the validator until ctx ends (then it stops gracefully and returns nil) or it cannot go on.
// The lock on the volume is taken before anything is read and given back last.
func Run(ctx context.Context, paths Paths, out io.Writer) (err error) {
	lock, err := volume.Acquire(paths.Home)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if err := checkKeys(paths); err != nil {
		return err
	}
	cfg, err := loadConfig(paths)
	if err != nil {
		return err
	}
	logger, err := newLogger(cfg, out)
	if err != nil {
		return err
	}
	db, err := dbm.NewDB(app.DatabaseName, dbm.GoLevelDBBackend, volume.DataDir(paths.Home))
	if err != nil {
		return fmt.Errorf("cannot open the application database under %s: %w", volume.DataDir(paths.Home), err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	allowed := peers.New(paths.Peers, logger.With("module", "peers"))
	application, err := app.New(db, allowed, logger.With("module", "jil-abci"))
	if err != nil {
		return err
	}
	return runNode(ctx, cfg, application, allowed, logger)
}

func runNode(ctx context.Context, cfg *config.Config, application *app.Application, allowed *peers.Allowlist, logger log.Logger) error {
	nodeKey, err := p2p.LoadNodeKey(cfg.NodeKeyFile())
	if err != nil {
		return fmt.Errorf("node key: %w", err)
	}
	key := privval.LoadFilePV(cfg.PrivValidatorKeyFile(), cfg.PrivValidatorStateFile())
	logger.Info("starting", "address", key.GetAddress(), "peerId", nodeKey.ID(), "signedHeight", key.LastSignState.Height,
		"doubleSignCheckHeight", cfg.Consensus.DoubleSignCheckHeight, "filterPeers", cfg.FilterPeers)
	filter := allowed
	if !cfg.FilterPeers {
		filter = nil
	}
	dial, err := newDialer(cfg.P2P.PersistentPeers, cfg.P2P.PersistentPeersMaxDialPeriod, filter, logger.With("module", "dialer"))
	if err != nil {
		return err
	}
	cfg.P2P.PersistentPeers = ""
	n, err := node.NewNodeWithContext(ctx, cfg, key, nodeKey,
		proxy.NewLocalClientCreator(application),
		node.DefaultGenesisDocProviderFunc(cfg), config.DefaultDBProvider,
		node.DefaultMetricsProvider(cfg.Instrumentation), logger)
	if err != nil {
		return fmt.Errorf("CometBFT does not start: %w", err)
	}
	environment, err := n.ConfigureRPC()
	if err != nil {
		return fmt.Errorf("CometBFT does not start: %w", err)
	}
	state, ok := environment.ConsensusState.(*consensus.State)
	if !ok {
		return fmt.Errorf("unexpected consensus state %T: this program was built against another CometBFT", environment.ConsensusState)
	}
	if err := n.Start(); err != nil {
		return fmt.Errorf("CometBFT does not start: %w", err)
	}
	background, cancel := context.WithCancel(ctx)
	defer cancel()
	dial.run(background, n.Switch())
	if filter != nil {
		go dropUnlisted(background, n.Switch(), filter, time.Second)
	}
	if cfg.Consensus.DoubleSignCheckHeight > 0 {
		go clearDoubleSignCheck(background, n.ConsensusReactor(), state, cfg.RootDir, logger)
	}
	failed := make(chan struct{})
	go func() { state.Wait(); close(failed) }()

	select {
	case <-ctx.Done():
		logger.Info("stopping on request")
		err = nil
	case <-failed:
		// CometBFT logs CONSENSUS FAILURE and lives on without taking part: worse than a restart that everybody sees.
		err = errors.New("consensus stopped; the log above says why (CONSENSUS FAILURE)")
	}
	cancel()
	if stopErr := n.Stop(); stopErr != nil {
		return errors.Join(err, fmt.Errorf("CometBFT does not stop cleanly: %w", stopErr))
	}
	n.Wait()
	return err
}

// clearDoubleSignCheck ends the check once consensus has run past a block: it ran into no own signature.
func clearDoubleSignCheck(ctx context.Context, reactor *consensus.Reactor, state *consensus.State, home string, logger log.Logger) {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	joined := int64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if reactor.WaitSync() {
			continue
		}
		height := state.GetLastHeight()
		if joined == 0 {
			joined = height
		}
		if height > joined+1 {
			if err := volume.DoubleSignCheckDone(home); err != nil {
				logger.Error("the next start will check for double signing again", "err", err)
			}
			return
		}
	}
}

func newLogger(cfg *config.Config, out io.Writer) (log.Logger, error) {
	base := log.NewTMLogger(log.NewSyncWriter(out))
	if cfg.LogFormat == config.LogFormatJSON {
		base = log.NewTMJSONLogger(log.NewSyncWriter(out))
	}
	logger, err := cmtflags.ParseLogLevel(cfg.LogLevel, base, config.DefaultLogLevel)
	if err != nil {
		return nil, fmt.Errorf("configuration log_level: %w", err)
	}
	return logger, nil
}
