//go:build tools

// Package assets names the command that is built; it is never compiled itself.
package assets

import _ "go.etcd.io/etcd/server/v3"
