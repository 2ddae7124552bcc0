package bucket

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Scheme begins the address of a bucket.
const Scheme = "s3://"

// Address is the place of objects: a bucket, and what their keys begin with there.
type Address struct {
	Bucket    string
	Prefix    string // "", or it ends with a slash
	Region    string // "": what the environment or the shared configuration says
	Endpoint  string // "": AWS; else a URL with its scheme
	PathStyle bool   // the bucket's name stands in the path, not in the host
}

const addressForm = "write s3://BUCKET/PREFIX?region=…, for another service than AWS with &endpoint=https://HOST"

// Parse reads s3://BUCKET/PREFIX?region=R&endpoint=URL&path_style=true. Its errors repeat nothing that might be a secret:
// they are "what is wrong; what to write instead".
func Parse(text string) (Address, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "s3":
		return Address{}, errors.New("it is no URL of a bucket; " + addressForm)
	case u.User != nil:
		return Address{}, errors.New("credentials do not belong into the URL; leave them to the environment (AWS_ACCESS_KEY_ID …), to AWS_PROFILE or to the machine's role")
	case !bucketName.MatchString(u.Host) || strings.Contains(u.Host, ".."):
		return Address{}, fmt.Errorf("%q is no name of a bucket; "+addressForm, u.Host)
	case u.Fragment != "":
		return Address{}, errors.New("it has a #; write it as %23")
	}
	a := Address{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	if a.Prefix != "" {
		for _, part := range strings.Split(a.Prefix, "/") {
			if part == "" || part == "." || part == ".." || !utf8.ValidString(part) || strings.ContainsFunc(part, unicode.IsControl) {
				return Address{}, fmt.Errorf("the prefix has a part %q; leave it out", part)
			}
		}
		a.Prefix += "/"
	}
	err = a.parameters(u.RawQuery)
	return a, err
}

var (
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	regionName = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)
)

func (a *Address) parameters(query string) error {
	parameters, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("its parameters cannot be read; " + addressForm)
	}
	names := make([]string, 0, len(parameters))
	for name := range parameters {
		names = append(names, name)
	}
	slices.Sort(names)
	pathStyle := ""
	for _, name := range names {
		values := parameters[name]
		if len(values) > 1 {
			return fmt.Errorf("parameter %q stands there twice; write it once", name)
		}
		switch name {
		case "region":
			if !regionName.MatchString(values[0]) {
				return fmt.Errorf("%q is no region; write one such as eu-central-1", values[0])
			}
			a.Region = values[0]
		case "endpoint":
			if a.Endpoint, err = parseEndpoint(values[0]); err != nil {
				return err
			}
		case "path_style":
			pathStyle = values[0]
		default:
			return fmt.Errorf("there is no parameter %q; region, endpoint and path_style there are, and credentials come from the environment, AWS_PROFILE or the machine's role", name)
		}
	}
	switch pathStyle {
	case "":
		a.PathStyle = a.Endpoint != ""
	case "true", "false":
		a.PathStyle = pathStyle == "true"
	default:
		return errors.New("path_style is neither true nor false; write one of them")
	}
	return nil
}

// parseEndpoint takes TLS for granted: only who writes http:// goes without.
func parseEndpoint(text string) (string, error) {
	const form = "write it as https://HOST or https://HOST:PORT"
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", errors.New("the endpoint is no URL; " + form)
	case u.User != nil:
		return "", errors.New("the endpoint has credentials; " + form)
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("the endpoint is not only a scheme and a host; " + form)
	}
	return u.Scheme + "://" + u.Host, nil
}

// String names the place, without the way there.
func (a Address) String() string { return Scheme + a.Bucket + "/" + a.Prefix }

// Within tells whether all objects of the address are among those of another one.
func (a Address) Within(b Address) bool {
	return a.Bucket == b.Bucket && a.Endpoint == b.Endpoint && strings.HasPrefix(a.Prefix, b.Prefix)
}
