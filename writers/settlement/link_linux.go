package settlement

import (
	"errors"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// linkFast links regular files without looking both folders up for each of them, and gives those that are left over.
func (f folder) linkFast(dir, as string, names []string) (linked map[string]fileInfo, rest []string, err error) {
	linked = make(map[string]fileInfo, len(names))
	from, err := f.root.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := f.root.Open(as)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	err = withDescriptors(from, to, func(from, to int) {
		for _, name := range names {
			var stat unix.Stat_t
			if strings.Contains(name, "/") || unix.Linkat(from, name, to, name, 0) != nil {
				rest = append(rest, name)
				continue
			}
			if unix.Fstatat(to, name, &stat, unix.AT_SYMLINK_NOFOLLOW) != nil || stat.Mode&unix.S_IFMT != unix.S_IFREG {
				_ = unix.Unlinkat(to, name, 0) // else linking it again says so
				rest = append(rest, name)
				continue
			}
			linked[name] = fileInfo{name, stat.Size, time.Unix(stat.Mtim.Unix())}
		}
	})
	return linked, rest, err
}

func withDescriptors(a, b *os.File, do func(a, b int)) error {
	first, err := a.SyscallConn()
	if err != nil {
		return err
	}
	second, err := b.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = first.Control(func(a uintptr) {
		inner = second.Control(func(b uintptr) { do(int(a), int(b)) })
	})
	return errors.Join(err, inner)
}
