package locate

import "math"

const (
	// earthRadius is the mean radius in km (IUGG).
	earthRadius = 6371.0088
	// fibreKmPerMs is how far light goes in fibre in a millisecond: two thirds of its speed in a vacuum.
	fibreKmPerMs = 200
)

// Km is the great-circle distance in km, within 0.6 % of the ellipsoid's.
func Km(a, b Coordinates) float64 {
	const rad = math.Pi / 180
	dLat, dLon := (b.Lat-a.Lat)*rad, (b.Lon-a.Lon)*rad
	h := math.Pow(math.Sin(dLat/2), 2) + math.Cos(a.Lat*rad)*math.Cos(b.Lat*rad)*math.Pow(math.Sin(dLon/2), 2)
	return 2 * earthRadius * math.Asin(math.Sqrt(min(1, h)))
}

// LightMs is the round-trip time in ms below which nothing can be that travels km through fibre and back: km/100.
func LightMs(km float64) float64 { return 2 * km / fibreKmPerMs }
