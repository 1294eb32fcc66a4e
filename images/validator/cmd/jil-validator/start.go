package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"time"

	"jil.io/validator/internal/govcli"
	"jil.io/validator/internal/guard"
	"jil.io/validator/internal/run"
)

func start(ctx context.Context, args []string, out, errs io.Writer) error {
	paths := run.Paths{}
	flags := flag.NewFlagSet("start", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.StringVar(&paths.Home, "home", "/var/lib/jil", "the validator's volume")
	flags.StringVar(&paths.Config, "config", "/etc/jil/config/config.toml", "CometBFT's configuration; paths in it are ignored")
	flags.StringVar(&paths.Genesis, "genesis", "/etc/jil/genesis/genesis.json", "genesis document")
	flags.StringVar(&paths.ValidatorKey, "validator-key", "/etc/jil/validator-key/priv_validator_key.json", "consensus key")
	flags.StringVar(&paths.NodeKey, "node-key", "/etc/jil/node-key/node_key.json", "p2p key")
	flags.StringVar(&paths.Peers, "peers", "/etc/jil/peers/peers.json", "node ids that may be peers; read again whenever it is needed")
	if err := parse(flags, args); err != nil {
		return err
	}
	return run.Run(ctx, paths, out)
}

func guardCommand(ctx context.Context, args []string, out, errs io.Writer) error {
	o := guard.Options{Poll: 200 * time.Millisecond, Report: 30 * time.Second, Log: slog.New(slog.NewJSONHandler(out, nil))}
	flags := flag.NewFlagSet("guard", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.StringVar(&o.PodInfo, "podinfo", "/etc/jil/podinfo/annotations", "downward API file with the pod's annotations")
	flags.StringVar(&o.PodUID, "pod-uid", "", "UID of this pod (required)")
	flags.StringVar(&o.Home, "home", "/var/lib/jil", "the validator's volume")
	if err := parse(flags, args); err != nil {
		return err
	}
	if o.PodUID == "" {
		return fmt.Errorf("%w: --pod-uid is missing: give the pod's UID from the downward API (metadata.uid)", govcli.ErrUsage)
	}
	return guard.Run(ctx, o)
}

func parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%w: unexpected argument %q", govcli.ErrUsage, flags.Arg(0))
	}
	return nil
}
