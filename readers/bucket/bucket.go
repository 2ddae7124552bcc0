package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Settings say what a bucket may use; the zero value is good.
type Settings struct {
	Memory      int64         // for pieces of objects that are read ahead; 0: 64 MiB
	TempDir     string        // for objects that are read here and there; "": the system's
	LongestWait time.Duration // between two attempts of a request; 0: 20 s
}

// Object is an object as it was listed or looked up.
type Object struct {
	Key      string // below the address's prefix
	Size     int64
	ETag     string // of this content
	Modified time.Time
}

// Bucket is the objects at an address. It is safe for concurrent use.
type Bucket struct {
	address  Address
	settings Settings
	client   *s3.Client

	ctx    context.Context // of what is read ahead
	cancel context.CancelFunc
	group  sync.WaitGroup

	singlePut int64 // larger objects are made in parts
	partSize  int64

	mu       sync.Mutex
	pieceMax int64
	window   int64 // bytes that may still be read ahead
	inFlight int
	opened   []*source
	expected []Object
	next     int       // of expected
	ahead    []*source // expected, asked for and not opened yet
	spare    [][]byte  // of pieceMax bytes
}

const (
	attempts        = 10 // of a request
	requestsAtATime = 16
	requestPatience = 5 * time.Minute // with the bytes of a piece or part
	pieceLargest    = 8 << 20
	pieceSmallest   = 256 << 10
)

// Open finds the credentials, by the chain that is usual for AWS, and makes a client. It asks the bucket for nothing yet.
func Open(ctx context.Context, a Address, settings Settings) (*Bucket, error) {
	if settings.Memory <= 0 {
		settings.Memory = 64 << 20
	}
	if settings.LongestWait <= 0 {
		settings.LongestWait = 20 * time.Second
	}
	cfg, err := config.LoadDefaultConfig(ctx, config.WithLogger(logging.Nop{}), config.WithHTTPClient(httpClient()), config.WithRetryer(func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff, o.RateLimiter = attempts, settings.LongestWait, ratelimit.None
			o.Retryables = append(o.Retryables, retry.IsErrorRetryableFunc(cutOff))
		})
	}))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w; see to the shared AWS configuration", a, err)
	}
	switch {
	case a.Region != "":
		cfg.Region = a.Region
	case cfg.Region == "" && a.Endpoint != "":
		cfg.Region = "us-east-1" // what services beside AWS take
	case cfg.Region == "":
		return nil, fmt.Errorf("open %s: its region is not known; add ?region=REGION, or set AWS_REGION", a)
	}
	if err := findCredentials(ctx, &cfg); err != nil {
		return nil, fmt.Errorf("open %s: there are no credentials: %w; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role", a, err)
	}
	b := &Bucket{address: a, settings: settings, window: settings.Memory, singlePut: 64 << 20, partSize: 16 << 20}
	b.pieceMax = min(max(settings.Memory/8, pieceSmallest), pieceLargest)
	b.client = s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle = a.PathStyle
		o.DisableLogOutputChecksumValidationSkipped = true
		if a.Endpoint != "" {
			o.BaseEndpoint = aws.String(a.Endpoint)
		}
	})
	b.ctx, b.cancel = context.WithCancel(ctx)
	return b, nil
}

// cutOff tells an answer that cannot be read, as where its end is missing: the client itself would not ask again.
func cutOff(err error) aws.Ternary {
	var unreadable *smithy.DeserializationError
	if errors.As(err, &unreadable) || errors.Is(err, io.ErrUnexpectedEOF) {
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}

func httpClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost = 2 * requestsAtATime
		t.ResponseHeaderTimeout = time.Minute
	})
}

// findCredentials looks for credentials now, and not with the first request, which would be tried again and again.
func findCredentials(ctx context.Context, cfg *aws.Config) error {
	if cfg.Credentials == nil {
		return errors.New("nothing provides any")
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_, err := cfg.Credentials.Retrieve(ctx)
	return err
}

// Close ends what is under way, and waits for it.
func (b *Bucket) Close() error {
	b.cancel()
	b.group.Wait()
	return nil
}

// String names the place.
func (b *Bucket) String() string { return b.address.String() }

func (b *Bucket) key(name string) *string { return aws.String(b.address.Prefix + name) }

func (b *Bucket) bucket() *string { return aws.String(b.address.Bucket) }

// ErrChanged is what reading fails with when the object is not the listed one any more.
var ErrChanged = errors.New("the object has changed")

// ErrDenied is what a request fails with that the credentials do not allow; errors.Is(err, fs.ErrPermission) holds too.
var ErrDenied = fmt.Errorf("the credentials do not allow it: %w", fs.ErrPermission)

// failure says what was being done to what, what is wrong and what to do. Errors say of which kind they are: fs.ErrNotExist,
// ErrChanged, ErrDenied.
func (b *Bucket) failure(op, name string, err error) error {
	if err == nil {
		return nil
	}
	place := Scheme + path.Join(b.address.Bucket, b.address.Prefix, name)
	advice, kind := diagnosis(err, op)
	switch {
	case kind != nil:
		return fmt.Errorf("%s %s: %w (%w)%s", op, place, kind, err, advice)
	default:
		return fmt.Errorf("%s %s: %w%s", op, place, err, advice)
	}
}

// diagnosis sorts an error of the client.
func diagnosis(err error, op string) (advice string, kind error) {
	switch code, status := answer(err); {
	case code == "NoSuchBucket":
		return "; make the bucket, or name the right one", nil
	case code == "NoSuchKey" || code == "NotFound" || code == "NoSuchUpload" || status == http.StatusNotFound:
		return "", fs.ErrNotExist
	case code == "PreconditionFailed" || status == http.StatusPreconditionFailed:
		return "", ErrChanged
	case code == "InvalidAccessKeyId" || code == "SignatureDoesNotMatch" || code == "ExpiredToken" || code == "InvalidToken":
		return "; the service does not know these credentials: see to them", nil
	case code == "RequestTimeTooSkewed":
		return "; set the clock of this machine", nil
	case status == http.StatusForbidden:
		return "; the policy must allow it: docs/operations.md lists what is needed to " + op, ErrDenied
	case code == "PermanentRedirect" || status == http.StatusMovedPermanently || code == "AuthorizationHeaderMalformed" || code == "IllegalLocationConstraintException":
		return "; the bucket is in another region: name it in ?region=", nil
	}
	return "", nil
}

// answer gives the code and the HTTP status of what the service said; none, if it said nothing.
func answer(err error) (code string, status int) {
	var api smithy.APIError
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	return code, status
}

// wait lets some time pass before the next attempt.
func (b *Bucket) wait(ctx context.Context, attempt int) error {
	timer := time.NewTimer(min(50*time.Millisecond<<attempt, b.settings.LongestWait))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// TempFile makes a file that nobody else can read, and that is gone when it is closed or the process ends.
func (b *Bucket) TempFile() (*Temporary, error) {
	file, err := os.CreateTemp(b.settings.TempDir, "drawdown-object-*")
	if err != nil {
		return nil, err
	}
	t := &Temporary{File: file}
	t.unlinked = os.Remove(file.Name()) == nil // Windows refuses while it is open
	return t, nil
}

// Temporary is a file without a name, where the system has that.
type Temporary struct {
	*os.File
	unlinked bool
}

// Close lets go of the file, which is gone then.
func (t *Temporary) Close() error {
	err := t.File.Close()
	if !t.unlinked {
		err = errors.Join(err, os.Remove(t.Name()))
	}
	return err
}
