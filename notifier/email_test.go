package notifier_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/mail"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"drawdown/notifier"
	"drawdown/notifier/notifiertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func emailConfig(t testing.TB, address string) notifier.EmailConfig {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	number, _ := strconv.Atoi(port)
	return notifier.EmailConfig{
		Host: host, Port: number, TLS: notifier.NoTLS, From: &mail.Address{Name: "Billing", Address: "billing@example.com"}, Connections: 2,
		Clock: time.Now, Unsubscribe: "https://example.com/stop?account={account}",
	}
}

func openEmail(t testing.TB, c notifier.EmailConfig) *notifier.Email {
	t.Helper()
	e, err := notifier.NewEmail(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func words(t testing.TB) *notifier.Words {
	t.Helper()
	w, err := notifier.LoadWords(nil, "en")
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func sample(t testing.TB, id string) *notifier.Message {
	t.Helper()
	m, err := words(t).Sample("usage_alert", notifier.ChannelEmail, "zh", nil)
	if err != nil {
		t.Fatal(err)
	}
	m.ID = id
	return m
}

// certificates writes a certificate for 127.0.0.1 and its key, and gives what a client trusts.
func certificates(t testing.TB) (certificate, key string, trust *tls.Config) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := errors.Join(os.WriteFile(certificate, text, 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600)); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return certificate, key, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// TestEmailArrives: over STARTTLS and TLS with a password, with the headers that it must have; never in the clear where
// encryption is asked for, and never to a server whose certificate nobody vouches for.
func TestEmailArrives(t *testing.T) {
	t.Parallel()
	certificate, key, trust := certificates(t)
	passwords := filepath.Join(t.TempDir(), "passwords")
	if err := os.WriteFile(passwords, []byte("billing:s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, flag := range map[notifier.TLSMode]string{notifier.StartTLS: "--smtp-require-starttls", notifier.TLS: "--smtp-require-tls"} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			server := notifiertest.StartMailpit(t, "--smtp-tls-cert", certificate, "--smtp-tls-key", key, flag, "--smtp-auth-file", passwords)
			c := emailConfig(t, server.SMTP)
			c.TLS, c.Certificates, c.Username, c.Password = mode, trust, "billing", "s3cret"
			e := openEmail(t, c)
			for _, id := range []string{"first", "second"} { // on one connection
				if _, err := e.Send(t.Context(), sample(t, id)); err != nil {
					t.Fatal(err)
				}
			}
			all := server.IDs(t)
			if len(all) != 2 || all[1].MessageID != "first@example.com" {
				t.Fatalf("%+v", all)
			}
			got, raw := server.Read(t, all[1].ID)
			if got.Subject != "套餐“Starter 1000 GB”剩余 20%" || !strings.Contains(got.Text, "199.5 GB") || !strings.Contains(got.HTML, "<h1") {
				t.Errorf("%+v", got)
			}
			for _, header := range []string{
				"List-Unsubscribe: <https://example.com/stop?account=acme>", "Auto-Submitted: auto-generated", "Content-Language: zh",
				"To: <owner@example.com>", "From: \"Billing\" <billing@example.com>",
			} {
				if !strings.Contains(raw, header+"\r\n") {
					t.Errorf("it has no header %s:\n%s", header, raw)
				}
			}
			refused := map[string]func(*notifier.EmailConfig){
				"a wrong password":                      func(c *notifier.EmailConfig) { c.Password = "guess" },
				"a certificate that nobody vouches for": func(c *notifier.EmailConfig) { c.Certificates = nil },
			}
			if mode == notifier.StartTLS { // the other one would wait for a word in TLS
				refused["no encryption"] = func(c *notifier.EmailConfig) { c.TLS = notifier.NoTLS }
			}
			for name, wrong := range refused {
				c := c
				wrong(&c)
				_, err := openEmail(t, c).Send(t.Context(), sample(t, "third"))
				var unavailable *notifier.Unavailable
				if !errors.As(err, &unavailable) || strings.Contains(err.Error(), "guess") {
					t.Errorf("%s: %v", name, err)
				}
			}
			if n := server.Count(t); n != 2 {
				t.Errorf("%d mails", n)
			}
		})
	}
}

// TestEmailAnswers: 4xx may pass, 5xx of the recipient does not, and 5xx of the sender is about us.
func TestEmailAnswers(t *testing.T) {
	t.Parallel()
	server := notifiertest.StartMailpit(t, "--enable-chaos")
	e := openEmail(t, emailConfig(t, server.SMTP))
	var permanent *notifier.Permanent
	var unavailable *notifier.Unavailable
	send := func() error {
		_, err := e.Send(t.Context(), sample(t, "id"))
		return err
	}
	for _, c := range []struct {
		code, sender, recipient int
		right                   func(error) bool
	}{
		{451, 100, 0, func(err error) bool {
			return err != nil && !errors.As(err, &permanent) && !errors.As(err, &unavailable)
		}},
		{451, 0, 100, func(err error) bool {
			return err != nil && !errors.As(err, &permanent) && !errors.As(err, &unavailable)
		}},
		{550, 0, 100, func(err error) bool { return errors.As(err, &permanent) }},
		{550, 100, 0, func(err error) bool { return errors.As(err, &unavailable) }},
		{421, 0, 100, func(err error) bool { return errors.As(err, &unavailable) }},
		{451, 0, 0, func(err error) bool { return err == nil }},
	} {
		server.Chaos(t, c.code, c.sender, c.recipient, 0)
		if err := send(); !c.right(err) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	m := sample(t, "id")
	m.To = "nobody"
	if _, err := e.Send(t.Context(), m); !errors.As(err, &permanent) {
		t.Error(err)
	}
	if n := server.Count(t); n != 1 {
		t.Errorf("%d mails", n)
	}
}
