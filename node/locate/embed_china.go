//go:build !nogeo && !nocn

package locate

import _ "embed"

//go:embed data/china.zst
var chinaFile []byte
