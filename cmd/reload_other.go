//go:build !unix

package cmd

import "context"

// onHangup does nothing where there is no SIGHUP.
func onHangup(context.Context, func()) (wait func()) { return func() {} }
