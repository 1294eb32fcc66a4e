// Command htpasswd reads a password from stdin and prints a line of an htpasswd file for the user named by its argument.
//
// CNCF distribution takes bcrypt only, which Python's standard library and openssl cannot make.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

func main() {
	if len(os.Args) != 2 || os.Args[1] == "" || strings.ContainsAny(os.Args[1], ":\n") {
		fail("give one user name, without ':'; the password comes from stdin")
	}
	password, err := io.ReadAll(os.Stdin)
	if err != nil {
		fail(err.Error())
	}
	// The registry checks it with every request: the least cost that bcrypt knows is right for a random password.
	hash, err := bcrypt.GenerateFromPassword(password, bcrypt.MinCost)
	if err != nil {
		fail(err.Error())
	}
	fmt.Printf("%s:%s\n", os.Args[1], hash)
}

func fail(text string) {
	fmt.Fprintln(os.Stderr, "htpasswd:", text)
	os.Exit(1)
}
