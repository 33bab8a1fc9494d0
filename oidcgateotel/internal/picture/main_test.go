package main

import (
	"bytes"
	"os"
	"testing"
)

func TestPictureIsOfThisDashboard(t *testing.T) {
	t.Chdir("../..")
	var now bytes.Buffer
	if err := run(&now); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile("../docs/metrics.svg")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kept, now.Bytes()) {
		t.Error("docs/metrics.svg is not of dashboard.json; run: go run ./internal/picture >../docs/metrics.svg")
	}
}
