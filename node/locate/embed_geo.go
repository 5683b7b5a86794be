//go:build !nogeo

package locate

import _ "embed"

var (
	//go:embed data/cities.zst
	citiesFile []byte
	//go:embed data/world.zst
	worldFile []byte
	//go:embed data/networks.zst
	networksFile []byte
)
