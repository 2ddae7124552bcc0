package catalog

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"drawdown/rating"
)

// Source is what catalog files say, with the place of every field.
type Source struct {
	Draft rating.Draft
	Files []File // in the order in which they were read

	places map[rating.Kind][]place // of each row
	named  map[rating.Kind]bool    // kinds of which the files have a list, be it an empty one
	lines  []fieldLine
	faults []noted // of notation
	broken bool    // a file could not be read to its end, so that references into it cannot be judged
}

// File is a file that was read.
type File struct {
	Name   string
	Size   int64
	SHA256 [sha256.Size]byte
}

// place is where a row begins; fields on other lines of it are in lines[from:to].
type place struct{ file, line, from, to int32 }

type fieldLine struct {
	field string
	line  int32
}

// noted is a fault of notation, and the row of the draft that it is in.
type noted struct {
	Located
	kind rating.Kind
	row  int // -1: none
}

// Read reads files and folders, as one catalog. An error means that something could not be read; what is wrong in the
// files is said by [Source.Compile].
func Read(paths ...string) (*Source, error) {
	s := newSource()
	for _, path := range paths {
		names, err := filesOf(path)
		if err != nil {
			return nil, fmt.Errorf("read catalog: %w", err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				return nil, fmt.Errorf("read catalog: %w", err)
			}
			s.add(name, data)
		}
	}
	return s, nil
}

// Parse reads one file from memory; its name says what it is, as with [Read].
func Parse(name string, data []byte) *Source {
	s := newSource()
	s.add(name, data)
	return s
}

func newSource() *Source {
	return &Source{places: map[rating.Kind][]place{}, named: map[rating.Kind]bool{}}
}

// newParser parses the file of a source that was added last.
func newParser(s *Source, name string, budget int) *parser {
	return &parser{Source: s, name: name, file: int32(len(s.Files) - 1), row: -1, budget: budget, cells: map[string][]rating.CoverDraft{}}
}

// Broken gives the faults of notation, where there are any.
func (s *Source) Broken() error {
	if len(s.faults) == 0 {
		return nil
	}
	f := &Faults{}
	for i := range s.faults {
		f.List = append(f.List, s.faults[i].Located)
	}
	f.sort()
	return f
}

// Names tells whether the files have a list of a kind, be it an empty one.
func (s *Source) Names(kind rating.Kind) bool { return s.named[kind] }

func filesOf(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var names []string
	err = filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != path && strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return fs.SkipDir
			}
		case !entry.IsDir() && (isYAML(name) || isCSV(name)):
			names = append(names, name)
		}
		return nil
	})
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("the folder %s holds no .yaml, .yml or .csv file", path)
	}
	return names, err
}

func isYAML(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".yaml", ".yml":
		return true
	}
	return false
}

func isCSV(name string) bool { return strings.EqualFold(filepath.Ext(name), ".csv") }

func (s *Source) add(name string, data []byte) {
	s.Files = append(s.Files, File{Name: name, Size: int64(len(data)), SHA256: sha256.Sum256(data)})
	p := newParser(s, name, len(data)+maxExpanded)
	switch {
	case isCSV(name):
		p.csv(data)
	default:
		p.yaml(data)
	}
}

// Compile checks the catalog and makes it. The error is a [*Faults] with all that is wrong, in notation and in meaning.
func (s *Source) Compile(config rating.CompileConfig) (*rating.Catalog, error) {
	return s.CompileMerged(&s.Draft, config)
}

// CompileMerged checks what the files' rows and rows of a database make together. Of each kind, merged has the files' rows
// first, in their order.
// Rows of the database that are known to be at fault are said with the rest.
func (s *Source) CompileMerged(merged *rating.Draft, config rating.CompileConfig, known ...rating.Fault) (*rating.Catalog, error) {
	var list []Located
	for _, f := range s.faults {
		list = append(list, f.Located)
	}
	var catalog *rating.Catalog
	if !s.broken {
		c, faults := rating.Compile(merged, config)
		catalog = c
		list = append(list, s.locate(merged, Besides(known, faults))...)
	}
	if len(list) == 0 {
		return catalog, nil
	}
	f := &Faults{List: list}
	f.sort()
	return nil, f
}

// Located makes one error of faults that were found in what the files' rows and rows of a database make together. Without a
// fault there is no error.
func (s *Source) Located(merged *rating.Draft, faults []rating.Fault) error {
	if len(faults) == 0 {
		return nil
	}
	f := &Faults{List: s.locate(merged, faults)}
	f.sort()
	return f
}

// rowOf is a row of the draft.
type rowOf struct {
	kind  rating.Kind
	index int
}

// locate places faults, save those that only follow from a fault of notation in the same field.
func (s *Source) locate(merged *rating.Draft, faults []rating.Fault) []Located {
	spoilt := map[rowOf][]string{}
	for _, f := range s.faults {
		if f.row >= 0 {
			at := rowOf{f.kind, f.row}
			spoilt[at] = append(spoilt[at], f.Field)
		}
	}
	list := make([]Located, 0, len(faults))
	for _, f := range faults {
		if follows(f.Field, spoilt[rowOf{f.Kind, f.Index}]) {
			continue
		}
		l := located(f)
		if f.Index < len(s.places[f.Kind]) {
			l.File, l.Line = s.position(f.Kind, f.Index, f.Field)
		} else {
			l.Row = fmt.Sprintf("%s %q", f.Kind, rowID(merged, f.Kind, f.Index))
		}
		list = append(list, l)
	}
	return list
}

func follows(field string, spoilt []string) bool {
	for _, other := range spoilt {
		if field == "" || other == "" || within(field, other) || within(other, field) {
			return true
		}
	}
	return false
}

// within says whether a field is a part of another one.
func within(field, outer string) bool {
	rest, found := strings.CutPrefix(field, outer)
	return found && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// position gives file and line of a field, or of the nearest thing around it.
func (s *Source) position(kind rating.Kind, index int, field string) (string, int) {
	at := s.places[kind][index]
	lines := s.lines[at.from:at.to]
	for field != "" {
		for _, l := range lines {
			if l.field == field {
				return s.Files[at.file].Name, int(l.line)
			}
		}
		field = field[:max(0, strings.LastIndexAny(field, ".["))]
	}
	return s.Files[at.file].Name, int(at.line)
}
