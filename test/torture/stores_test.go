package torture

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/test/torture/history"
)

// checkStores compares every local copy of the values, the processors' and the views', with the fold of the changelog up to its
// checkpoint. Nobody may have them open. It returns how many it has compared.
func checkStores(dir string, changelogs history.Topic) (compared int, problems []string) {
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || entry.Name() != "TIDEMILL-STORE" || strings.Contains(path, "subscriptions") {
			return err
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), "CURRENT")); errors.Is(err, fs.ErrNotExist) {
			return nil // killed while LevelDB made it: nothing is in it, and it is made anew at the next start
		}
		found, err := checkStore(filepath.Dir(path), changelogs)
		if err != nil {
			return err
		}
		compared++
		problems = append(problems, found...)
		return nil
	})
	if err != nil {
		problems = append(problems, "reading the stores: "+err.Error())
	}
	return compared, problems
}

func checkStore(dir string, changelogs history.Topic) (problems []string, err error) {
	engine, err := store.OpenLevelDB(dir, store.Options{})
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", dir, err)
	}
	defer engine.Close()
	at, ok := engine.Checkpoint(changelog)
	name := "values"
	if strings.Contains(dir, "/views/") {
		name = "calculator-values"
	}
	rows := map[string]string{}
	iterator := engine.Range(name, nil, nil, false)
	for iterator.Next() {
		rows[string(iterator.Key())] = string(iterator.Value())
	}
	if err := errors.Join(iterator.Err(), iterator.Close()); err != nil {
		return nil, fmt.Errorf("reading %s: %w", dir, err)
	}
	if !ok {
		return nil, nil // its rows will not be believed
	}
	for _, difference := range history.Differences(rows, history.Fold(changelogs[at.Partition], at.Offset)) {
		problems = append(problems, fmt.Sprintf("the store %s, at %d of the changelog, is not its fold: %s", dir, at.Offset, difference))
	}
	return problems[:min(len(problems), 3)], nil
}
