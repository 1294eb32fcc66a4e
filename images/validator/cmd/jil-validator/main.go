// Command jil-validator is a JIL node's validator: CometBFT with jil-abci in one process, its start guard, and the
// tool that makes governance transactions.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"jil.io/validator/internal/govcli"
)

const usage = `usage: jil-validator <command> [flags]

  start      run the validator on its volume
  guard      wait for the operator's start permit, then create or check the sign state
  gov        propose, sign and submit governance transactions (see jil-validator gov)
  version    print the versions of the components as JSON

jil-validator <command> -h explains the flags.
`

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	os.Exit(dispatch(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// dispatch returns the exit code: 0 done, 1 failed (the reason is on stderr), 2 called wrongly.
func dispatch(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	if len(args) == 0 {
		_, _ = fmt.Fprint(errs, usage)
		return 2
	}
	var err error
	switch args[0] {
	case "start":
		err = start(ctx, args[1:], out, errs)
	case "guard":
		err = guardCommand(ctx, args[1:], out, errs)
	case "gov":
		err = govcli.Run(ctx, args[1:], in, out, errs)
	case "version", "--version":
		err = printVersion(out)
	case "help", "-h", "--help":
		_, _ = fmt.Fprint(out, usage)
	default:
		_, _ = fmt.Fprintf(errs, "unknown command %q\n\n%s", args[0], usage)
		return 2
	}
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, govcli.ErrUsage):
		_, _ = fmt.Fprintf(errs, "jil-validator %s: %v\n", args[0], err)
		return 2
	default:
		_, _ = fmt.Fprintf(errs, "jil-validator %s: %v\n", args[0], err)
		return 1
	}
}
