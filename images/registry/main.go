// Command jil-registry is CNCF distribution, an OCI registry, with one more way to let clients in: node logins
// (package nodelogin). It stores on a file system or in memory; everything else is distribution's own.
//
// It is the registry of the test bed, and the one that JILHQ will run.
package main

import (
	"os"

	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/auth/token"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"

	_ "jil.io/registry/internal/nodelogin"
)

func main() {
	if registry.RootCmd.Execute() != nil {
		os.Exit(1)
	}
}
