//go:build nogeo || nocn

package locate

// A program built with -tags nocn takes mainland China from the table of the world, like any other country.
var chinaFile []byte
