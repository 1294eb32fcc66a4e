package main

import (
	"encoding/json"
	"io"
	"runtime"
	"runtime/debug"

	cmtversion "github.com/cometbft/cometbft/version"

	"jil.io/validator/internal/app"
)

// version is the product's, set by the build (-ldflags -X main.version=...).
var version = "dev"

func printVersion(out io.Writer) error {
	// The module's version as linked: CometBFT's own constant was wrong in a release (0.40.0 said 0.39.0).
	comet := cmtversion.TMCoreSemVer
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "github.com/cometbft/cometbft" {
				comet = module.Version
			}
		}
	}
	return json.NewEncoder(out).Encode(map[string]any{
		"jil-validator": version,
		"cometbft":      comet,
		"abci":          cmtversion.ABCISemVer,
		"jil-abci":      app.Version,
		"p2p":           cmtversion.P2PProtocol,
		"block":         cmtversion.BlockProtocol,
		"go":            runtime.Version(),
	})
}
