package cmd

import "github.com/spf13/cobra"

func simScaleCommand(e *env) *cobra.Command { return &cobra.Command{Use: "scale"} }
