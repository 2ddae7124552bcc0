// Package buckettest starts a real S3 server for tests, versitygw, on a free port of the loopback interface, and puts
// faults between it and who talks to it.
package buckettest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Version is of the server. The Makefile builds the same one.
const Version = "v1.8.0"

// The root user of each server.
const (
	AccessKey = "drawdown"
	Secret    = "drawdown-secret"
)

// Server is a running S3 server. Its buckets are folders.
type Server struct {
	Endpoint  string
	dir, data string
	program   string
	stop      func()
}

// Start starts a server with a bucket named test, and gives its root user's credentials to the environment. It ends with
// the test.
func Start(t testing.TB) *Server {
	t.Helper()
	program, err := find()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no S3 server to test with: %v", err)
		}
		t.Skipf("versitygw is missing, S3 is NOT tested: %v", err)
	}
	s, err := open(program)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(s.dir, "none"))
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(s.dir, "none"))
	As(t, AccessKey, Secret)
	return s
}

// Serve starts a server with a bucket named test, for one that closes it himself.
func Serve() (*Server, error) {
	program, err := find()
	if err != nil {
		return nil, err
	}
	return open(program)
}

func open(program string) (*Server, error) {
	dir, err := os.MkdirTemp(memoryDir(), "drawdown-s3-*")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, data: filepath.Join(dir, "data"), program: program, stop: func() {}}
	for _, sub := range []string{"data/test", "sidecar", "iam"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	for range 5 { // the port may be taken by somebody else before the server takes it
		if err = s.run(); err == nil {
			return s, nil
		}
	}
	return nil, errors.Join(err, s.Close())
}

// Close ends the server, and removes all that was written to it.
func (s *Server) Close() error {
	s.stop()
	return os.RemoveAll(s.dir)
}

// As gives a user's credentials to the environment.
func As(t testing.TB, accessKey, secret string) {
	t.Setenv("AWS_ACCESS_KEY_ID", accessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	t.Setenv("AWS_SESSION_TOKEN", "")
}

// URL is the address of a prefix in the bucket test, through this server or through what stands before it.
func URL(endpoint, prefix string) string {
	return "s3://test/" + prefix + "?region=us-east-1&endpoint=" + endpoint
}

// Write makes an object in the bucket test beside the server, which is quick; all of these have the same ETag.
func (s *Server) Write(t testing.TB, key string, content []byte) {
	t.Helper()
	name := filepath.Join(s.data, "test", filepath.FromSlash(key))
	err := os.MkdirAll(filepath.Dir(name), 0o700)
	if err == nil {
		err = os.WriteFile(name, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// memoryDir is where small files are made and synced quickly.
func memoryDir() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// find gives the server's program: by DRAWDOWN_TEST_VERSITYGW, or from the cache, where it is built unless it is there.
func find() (string, error) {
	if program := os.Getenv("DRAWDOWN_TEST_VERSITYGW"); program != "" {
		_, err := os.Stat(program)
		return program, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "drawdown-test", "versitygw-"+Version)
	program := filepath.Join(dir, "versitygw")
	if runtime.GOOS == "windows" {
		return "", errors.New("it does not run on Windows")
	}
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "install", "github.com/versity/versitygw/cmd/versitygw@"+Version)
	build.Dir, build.Env = os.TempDir(), append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build versitygw: %w\n%s", err, out)
	}
	return program, nil
}

// run starts the server and waits until it answers.
func (s *Server) run() error {
	dir := s.dir
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := listener.Addr().String()
	listener.Close()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.Command(s.program, "--port", address, "--access", AccessKey, "--secret", Secret, "--quiet", "--keep-alive",
		"--iam-dir", filepath.Join(dir, "iam"), "posix", "--default-etag", "written-beside-the-server", "--sidecar", filepath.Join(dir, "sidecar"), s.data)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = command.Wait()
		close(ended)
	}()
	stop := func() {
		_ = command.Process.Kill()
		<-ended
	}
	s.Endpoint = "http://" + address
	client := http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	for range 1000 {
		response, err := client.Get(s.Endpoint)
		if err == nil {
			response.Body.Close()
			s.stop = stop
			return nil
		}
		select {
		case <-ended:
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("versitygw ended at once: %s", strings.TrimSpace(string(text)))
		case <-time.After(10 * time.Millisecond):
		}
	}
	stop()
	return errors.New("versitygw does not answer")
}

// AddUser makes a user who may do what policies of buckets allow.
func (s *Server) AddUser(t testing.TB, accessKey, secret string) {
	t.Helper()
	create := exec.Command(s.program, "admin", "--access", AccessKey, "--secret", Secret, "--endpoint-url", s.Endpoint,
		"create-user", "--access", accessKey, "--secret", secret, "--role", "user")
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// SetPolicy makes a policy that of the bucket test. As policies of users are written, it names nobody: it is to hold for a
// user.
func (s *Server) SetPolicy(t testing.TB, accessKey string, statements []map[string]any) {
	t.Helper()
	for _, statement := range statements {
		statement["Principal"] = map[string]any{"AWS": accessKey}
	}
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
	if err != nil {
		t.Fatal(err)
	}
	client := s3.New(s3.Options{
		BaseEndpoint: &s.Endpoint, UsePathStyle: true, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider(AccessKey, Secret, ""),
	})
	if _, err := client.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: aws.String("test"), Policy: aws.String(string(text))}); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}
