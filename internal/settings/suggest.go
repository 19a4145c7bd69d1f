package settings

import (
	"fmt"
	"slices"
	"strings"
)

// suggest names the known name that is most like one that is not known, if any is like it.
func suggest(name string, known []string) string {
	alike := func(text string) string {
		return strings.NewReplacer("_", "", "-", "", ".", "").Replace(strings.ToLower(strings.TrimPrefix(text, EnvPrefix)))
	}
	slices.Sort(known)
	nearest, least := "", max(2, len(alike(name))/3)+1
	for _, candidate := range known {
		distance := edits(alike(name), alike(candidate))
		if len(alike(name)) >= 4 && strings.HasSuffix(alike(candidate), alike(name)) {
			distance = 0 // its section was forgotten
		}
		if distance < least {
			nearest, least = candidate, distance
		}
	}
	if nearest == "" {
		return "; 'tidemill config' lists them all"
	}
	return fmt.Sprintf("; did you mean %q?", nearest)
}

// edits returns how many letters must be put in, left out or changed to make one text of another (Levenshtein, 1966).
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			changed := diagonal
			if a[i] != b[j] {
				changed++
			}
			diagonal = row[j+1]
			row[j+1] = min(changed, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
