//go:build nogeo

package locate

// A program built with -tags nogeo knows no city and no address but those of the operator's files.
var citiesFile, worldFile, networksFile []byte
