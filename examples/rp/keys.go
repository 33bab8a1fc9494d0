package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/oidcgate/oidcgate"
)

// clientKeys reads private keys from PEM files in PKCS #8, as "openssl genpkey" writes them. A file
// can have an algorithm in front, as in "PS256:key.pem".
func clientKeys(p *oidcgate.ClientKeys) func(string) error {
	return func(value string) error {
		var keys []oidcgate.ClientKey
		for _, field := range strings.Split(value, ",") {
			algorithm, file, found := strings.Cut(field, ":")
			if !found {
				algorithm, file = "", field
			}
			key, err := readKey(file)
			if err != nil {
				return err
			}
			keys = append(keys, oidcgate.ClientKey{Key: key, Algorithm: algorithm})
		}
		*p = oidcgate.NewClientKeys(keys)
		return nil
	}
}

func readKey(file string) (any, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New(file + " is no PEM file")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; write it in PKCS #8", file, err)
	}
	return key, nil
}
