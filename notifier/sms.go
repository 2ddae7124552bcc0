package notifier

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// SMSConfig is an SMS gateway that is spoken to over HTTP: Kannel's sendsms, or any other by templates.
type SMSConfig struct {
	URL                      string // of Kannel's sendsms; or a template
	Method, Body             string // templates; without them and Headers, URL is Kannel's
	Headers                  map[string]string
	Template                 bool
	Username, Password, From string
	ReportsURL               string // where `drawdown reports` is reached by the gateway; "": no delivery reports
	Connections              int
}

// SMS sends short messages.
type SMS struct {
	config    SMSConfig
	client    *http.Client
	url, body *template.Template
}

// smsFields is what a template of a gateway may say.
type smsFields struct {
	ID, To, From, Text, Username, Password, ReportURL string
	UCS2                                              bool
	Segments                                          int
}

// NewSMS prepares for a gateway; the templates are tried with a sample.
func NewSMS(c SMSConfig) (*SMS, error) {
	s := &SMS{config: c, client: &http.Client{
		Transport: &http.Transport{
			Proxy:       http.ProxyFromEnvironment,
			DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, MaxIdleConnsPerHost: max(1, c.Connections),
			IdleConnTimeout: 30 * time.Second,
		},
		Timeout:       time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if !c.Template {
		u, err := url.Parse(c.URL)
		if err != nil || u.Host == "" || u.RawQuery != "" {
			return nil, errors.New("url is no address of Kannel's sendsms; write http://host:13013/cgi-bin/sendsms")
		}
		return s, nil
	}
	functions := template.FuncMap{
		"query": url.QueryEscape,
		"json": func(text string) (string, error) {
			quoted, err := json.Marshal(text)
			return string(quoted), err
		},
		"hex": func(text string) string { return hex.EncodeToString([]byte(text)) },
	}
	var err error
	if s.url, err = template.New("url").Funcs(functions).Parse(c.URL); err == nil {
		s.body, err = template.New("body").Funcs(functions).Parse(c.Body)
	}
	if err == nil {
		_, err = s.fill(context.Background(), smsFields{ID: "id", To: "+4915112345678", Text: "text"})
	}
	if err != nil {
		return nil, withoutURL(err)
	}
	return s, nil
}

// Send hands a message to the gateway.
func (s *SMS) Send(ctx context.Context, m *Message) (string, error) {
	segments, gsm := SegmentsOf(m.Text)
	fields := smsFields{
		ID: m.ID, To: m.To, From: s.config.From, Text: m.Text, Username: s.config.Username, Password: s.config.Password,
		UCS2: !gsm, Segments: segments,
	}
	if s.config.ReportsURL != "" {
		fields.ReportURL = strings.TrimSuffix(s.config.ReportsURL, "/") + "/" + m.ID + "/" + s.reportToken(m.ID)
	}
	make := s.kannel
	if s.config.Template {
		make = s.fill
	}
	request, err := make(ctx, fields)
	if err != nil {
		return "", &Permanent{withoutURL(err)}
	}
	status, answer, err := exchange(s.client, request)
	var dial *net.OpError
	switch {
	case errors.As(err, &dial) && dial.Op == "dial":
		return "", &Unavailable{fmt.Errorf("connect to the SMS gateway: %w", err)}
	case err != nil:
		return "", &Uncertain{fmt.Errorf("the SMS gateway did not answer: %w", err)}
	case status/100 == 2:
		return answer, nil
	}
	err = fmt.Errorf("the SMS gateway answered %d %s: %q", status, http.StatusText(status), answer)
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status/100 == 3, status == http.StatusNotFound, status == http.StatusServiceUnavailable:
		return "", &Unavailable{err}
	case status/100 == 5, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		return "", err // it has refused, so nothing was sent
	}
	return "", &Permanent{err}
}

// kannel asks Kannel's sendsms.
func (s *SMS) kannel(ctx context.Context, f smsFields) (*http.Request, error) {
	query := url.Values{
		"username": {f.Username}, "password": {f.Password}, "to": {f.To}, "text": {f.Text}, "charset": {"UTF-8"}, "coding": {"0"},
	}
	if f.From != "" {
		query.Set("from", f.From)
	}
	if f.UCS2 {
		query.Set("coding", "2")
	}
	if f.ReportURL != "" { // Kannel puts the status in the place of %d, and what the operator said in that of %A
		query.Set("dlr-mask", "31")
		query.Set("dlr-url", f.ReportURL+"?status=%d&answer=%A")
	}
	return http.NewRequestWithContext(ctx, http.MethodGet, s.config.URL+"?"+query.Encode(), nil)
}

// fill makes a request of the templates.
func (s *SMS) fill(ctx context.Context, f smsFields) (*http.Request, error) {
	var address, body bytes.Buffer
	if err := s.url.Execute(&address, f); err != nil {
		return nil, err
	}
	if err := s.body.Execute(&body, f); err != nil {
		return nil, err
	}
	method := s.config.Method
	if method == "" {
		method = http.MethodPost
	}
	request, err := http.NewRequestWithContext(ctx, method, address.String(), bytes.NewReader(body.Bytes()))
	if err != nil {
		return nil, err
	}
	if request.URL.Host == "" || request.URL.Scheme != "https" && request.URL.Scheme != "http" {
		return nil, errors.New("url gives no http address")
	}
	for name, value := range s.config.Headers {
		request.Header.Set(name, value)
	}
	if f.Username != "" && request.Header.Get("Authorization") == "" && !strings.Contains(s.config.URL+s.config.Body, ".Password") {
		request.SetBasicAuth(f.Username, f.Password)
	}
	return request, nil
}

// reportToken makes sure that a delivery report is of a message of ours, and from whom we told its address.
func (s *SMS) reportToken(id string) string {
	mac := hmac.New(sha256.New, []byte(s.config.Username+"\n"+s.config.Password))
	mac.Write([]byte("delivery report " + id))
	return hex.EncodeToString(mac.Sum(nil)[:12])
}

// Close closes connections that are kept.
func (s *SMS) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// Report is what a delivery report says.
type Report struct {
	ID, Text         string
	Delivered, Final bool
}

// Reports takes in delivery reports as Kannel sends them: GET …/ID/TOKEN?status=N&answer=TEXT. take tells whether there
// is such a message.
func (s *SMS) Reports(take func(ctx context.Context, r Report) (bool, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		parts := strings.Split(strings.Trim(request.URL.Path, "/"), "/")
		if len(parts) < 2 {
			http.NotFound(w, request)
			return
		}
		id, token := parts[len(parts)-2], parts[len(parts)-1]
		if !hmac.Equal([]byte(token), []byte(s.reportToken(id))) {
			http.NotFound(w, request)
			return
		}
		status, err := strconv.Atoi(request.URL.Query().Get("status"))
		report := Report{ID: id}
		name := map[int]string{1: "delivered", 2: "failed", 4: "buffered", 8: "accepted", 16: "failed: rejected"}[status]
		if err != nil || name == "" {
			http.Error(w, "status is none of 1, 2, 4, 8, 16", http.StatusBadRequest)
			return
		}
		report.Delivered, report.Final = status == 1, status == 1 || status == 2 || status == 16
		report.Text = name
		if answer := plain(request.URL.Query().Get("answer")); answer != "" {
			report.Text += ": " + answer
		}
		switch found, err := take(request.Context(), report); {
		case err != nil:
			http.Error(w, "try again", http.StatusServiceUnavailable)
		case !found:
			http.NotFound(w, request)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
}
