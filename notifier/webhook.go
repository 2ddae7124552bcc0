package notifier

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// WebhookConfig is how webhooks are called.
type WebhookConfig struct {
	Site         string
	Secret       []byte // signs what is sent
	AllowPrivate bool   // addresses of this machine and of private networks, and http
	Connections  int
	Clock        func() time.Time
}

// Webhook posts notices as CloudEvents 1.0, signed as Standard Webhooks has it: the header webhook-signature is "v1," and
// the base64 of the HMAC-SHA256 over "webhook-id.webhook-timestamp.body". A receiver checks it, refuses a timestamp that
// is minutes old, and knows a repeat by webhook-id.
type Webhook struct {
	config WebhookConfig
	client *http.Client
}

// NewWebhook prepares for calling webhooks.
func NewWebhook(c WebhookConfig) *Webhook {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	if !c.AllowPrivate {
		dialer.Control = func(_, address string, _ syscall.RawConn) error { return checkPublic(address) }
	}
	transport := &http.Transport{ // without a proxy, which would connect where we may not
		DialContext: dialer.DialContext, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
		MaxIdleConnsPerHost: max(1, c.Connections), IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	return &Webhook{c, &http.Client{
		Transport: transport, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// errPrivate is what a connection is refused with that would not leave for the public network.
var errPrivate = errors.New("it is no public address; notify.webhook.allow_private allows it")

// checkPublic looks at the address that is about to be connected to, after the name was resolved: a name cannot turn
// into another address in between.
func checkPublic(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return err
	}
	ip = ip.Unmap().WithZone("")
	if !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return fmt.Errorf("%s: %w", ip, errPrivate)
	}
	for _, network := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
		"203.0.113.0/24", "240.0.0.0/4", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "fec0::/10",
	} {
		if netip.MustParsePrefix(network).Contains(ip) {
			return fmt.Errorf("%s: %w", ip, errPrivate)
		}
	}
	return nil
}

// CheckURL says what is wrong with a webhook's address.
func (w *WebhookConfig) CheckURL(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		return errors.New("it is no address of a webhook; write https://host/path, without a password")
	case u.Scheme != "https" && !(u.Scheme == "http" && w.AllowPrivate):
		return errors.New("it is not https; write https://…, or set notify.webhook.allow_private for one within your network")
	}
	return nil
}

// event is a CloudEvents 1.0 envelope in structured mode.
type event struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Subject         string    `json:"subject"`
	Time            string    `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	Data            eventData `json:"data"`
}

type eventData struct {
	Account       string `json:"account"`
	Package       string `json:"package,omitempty"`
	PackageName   string `json:"package_name,omitempty"`
	Meter         string `json:"meter,omitempty"`
	ThresholdType string `json:"threshold_type,omitempty"`
	Threshold     string `json:"threshold,omitempty"`
	Remaining     string `json:"remaining,omitempty"`
	Unit          string `json:"unit,omitempty"`
	Days          string `json:"days,omitempty"`
	Expires       string `json:"expires,omitempty"`
	RecordID      string `json:"record_id,omitempty"`
	DedupKey      string `json:"dedup_key"`
}

// Body is what is posted of a message.
func (w *Webhook) Body(m *Message) ([]byte, error) {
	n := &m.Notices[0]
	data := eventData{
		Account: n.Account, Package: n.Package, PackageName: n.PackageName, Meter: n.Meter, Remaining: n.Remaining, RecordID: n.RecordID,
		DedupKey: n.Key,
	}
	if n.Ends != 0 {
		data.Expires = n.Ends.String()
	}
	switch n.Kind {
	case "usage_alert":
		data.ThresholdType, data.Threshold, data.Unit = "absolute", n.Threshold, n.Unit
		if n.Percentage {
			data.ThresholdType = "percentage"
		}
	case "expiry_reminder":
		data.Days = n.Threshold
	}
	return json.Marshal(event{
		"1.0", m.ID, "/drawdown/" + url.PathEscape(w.config.Site), "drawdown." + n.Kind + ".v1", n.Account, n.At.String(), "application/json", data,
	})
}

// sign gives the value of webhook-signature.
func (w *Webhook) sign(id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, w.config.Secret)
	fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// Send posts a message.
func (w *Webhook) Send(ctx context.Context, m *Message) (string, error) {
	if err := w.config.CheckURL(m.To); err != nil {
		return "", &Permanent{err}
	}
	body, err := w.Body(m)
	if err != nil {
		return "", &Permanent{err}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, m.To, bytes.NewReader(body))
	if err != nil {
		return "", &Permanent{withoutURL(err)}
	}
	timestamp := strconv.FormatInt(w.config.Clock().Unix(), 10)
	for name, value := range map[string]string{
		"content-type": "application/cloudevents+json; charset=UTF-8", "user-agent": "drawdown", "webhook-id": m.ID,
		"webhook-timestamp": timestamp, "webhook-signature": w.sign(m.ID, timestamp, body),
	} {
		request.Header.Set(name, value)
	}
	status, answer, err := exchange(w.client, request)
	switch {
	case errors.Is(err, errPrivate):
		return "", &Permanent{err}
	case err != nil:
		return "", err
	case status/100 == 2:
		return "", nil
	}
	err = fmt.Errorf("the webhook answered %d %s: %q", status, http.StatusText(status), answer)
	if status/100 == 3 {
		err = fmt.Errorf("the webhook redirects (%d), which is not followed: write the address that it redirects to", status)
	}
	if status/100 == 5 || status == http.StatusRequestTimeout || status == http.StatusTooEarly || status == http.StatusTooManyRequests {
		return "", err
	}
	return "", &Permanent{err}
}

// exchange gives the status and the beginning of an answer. Errors do not hold the request's URL, which may hold secrets.
func exchange(client *http.Client, request *http.Request) (status int, answer string, err error) {
	response, err := client.Do(request)
	if err != nil {
		return 0, "", withoutURL(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	if err == nil {
		_, err = io.CopyN(io.Discard, response.Body, 64<<10) // so that the connection can be used again
	}
	if err != nil && !errors.Is(err, io.EOF) && response.StatusCode/100 == 2 {
		err = nil // it was accepted; what else was said is of no account
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return response.StatusCode, strings.TrimSpace(plainLine(string(body[:min(len(body), 200)]))), withoutURL(err)
}

// withoutURL takes the URL out of an error of package http.
func withoutURL(err error) error {
	var failure *url.Error
	if errors.As(err, &failure) {
		return fmt.Errorf("%s: %w", strings.ToLower(failure.Op), failure.Err)
	}
	return err
}

// Close closes connections that are kept.
func (w *Webhook) Close() error {
	w.client.CloseIdleConnections()
	return nil
}
