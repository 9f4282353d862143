package yamlfile

import (
	"maps"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/internal/spelling"
)

// suggest names the known key that was probably meant, or else lists all known keys.
func suggest(key string, known Fields) string {
	if best := nearest(key, known); best != "" {
		return `did you mean "` + best + `"?`
	}
	return "known keys are " + strings.Join(slices.Sorted(maps.Keys(known)), ", ")
}

// nearest returns the known key that was probably meant, or "".
func nearest(key string, known Fields) string {
	return spelling.Nearest(key, slices.Sorted(maps.Keys(known)))
}
