//go:build !unix

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: runs on Unix systems only, since it measures processor time with getrusage")
	os.Exit(1)
}
