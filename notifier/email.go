package notifier

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"strings"
	"sync"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// TLSMode says how a mail server is spoken to.
type TLSMode string

const (
	StartTLS TLSMode = "starttls" // the connection becomes encrypted before anything is said; else it is not used
	TLS      TLSMode = "tls"      // encrypted from the first byte
	NoTLS    TLSMode = "none"     // in the clear: for a server on this machine
)

// EmailConfig is a mail server, and whom its mails come from.
type EmailConfig struct {
	Host               string
	Port               int
	TLS                TLSMode
	Certificates       *tls.Config // nil: the system's
	Username, Password string      // "": without authentication
	From               *mail.Address
	ReplyTo            *mail.Address // nil: From
	Unsubscribe        string        // https: or mailto: address, in which {account} is the account's id
	Connections        int
	Clock              func() time.Time // of the header Date
}

// Email sends mails over SMTP. Its connections are kept, each for one mail at a time.
type Email struct {
	config EmailConfig
	idle   chan *connection
}

// connection is one to the mail server. The library neither ends what it waits for when a context does, nor closes what
// failed while it was being opened; so the socket is kept at hand.
type connection struct {
	client *gomail.Client
	lock   sync.Mutex
	socket net.Conn
}

func (c *connection) opened(socket net.Conn) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.socket = socket
}

// hangUp ends the connection, and with it whatever waits for an answer.
func (c *connection) hangUp() {
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.socket != nil {
		_ = c.socket.Close()
	}
}

// NewEmail prepares for a mail server; it does not connect yet.
func NewEmail(c EmailConfig) (*Email, error) {
	e := &Email{c, make(chan *connection, max(1, c.Connections))}
	if _, err := e.newConnection(); err != nil {
		return nil, fmt.Errorf("mail server %s:%d: %w", c.Host, c.Port, err)
	}
	return e, nil
}

func (e *Email) newConnection() (*connection, error) {
	made, certificates := &connection{}, e.config.Certificates
	if certificates == nil {
		certificates = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	certificates = certificates.Clone()
	certificates.ServerName = e.config.Host
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		socket, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		made.opened(socket)
		if e.config.TLS != TLS {
			return socket, nil
		}
		encrypted := tls.Client(socket, certificates)
		return encrypted, encrypted.HandshakeContext(ctx)
	}
	policy := gomail.NoTLS
	if e.config.TLS == StartTLS {
		policy = gomail.TLSMandatory
	}
	options := []gomail.Option{
		gomail.WithPort(e.config.Port), gomail.WithTimeout(SendFor), gomail.WithoutNoop(), gomail.WithoutRset(),
		gomail.WithTLSPolicy(policy), gomail.WithTLSConfig(certificates), gomail.WithDialContextFunc(dial),
	}
	if e.config.Username != "" { // a password is not said in the clear, but on this machine
		options = append(options, gomail.WithUsername(e.config.Username), gomail.WithPassword(e.config.Password),
			gomail.WithOpportunisticSMTPAuth(gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthSCRAMSHA1, gomail.SMTPAuthCramMD5,
				gomail.SMTPAuthPlain, gomail.SMTPAuthLogin))
	}
	var err error
	made.client, err = gomail.NewClient(e.config.Host, options...)
	return made, err
}

// Close says goodbye on connections that are kept.
func (e *Email) Close() error {
	for {
		select {
		case c := <-e.idle:
			c.close()
		default:
			return nil
		}
	}
}

// close says goodbye, but does not wait for an answer for long; a server that has gone first is no fault.
func (c *connection) close() {
	timer := time.AfterFunc(5*time.Second, c.hangUp)
	defer timer.Stop()
	_ = c.client.Close()
	c.hangUp()
}

// Send sends a mail. A connection that the server has closed since the last mail is replaced by a new one.
func (e *Email) Send(ctx context.Context, m *Message) (string, error) {
	mail, err := e.compose(m)
	if err != nil {
		return "", &Permanent{err}
	}
	for {
		c, kept, err := e.connect(ctx)
		if err != nil {
			return "", err
		}
		stop := context.AfterFunc(ctx, c.hangUp)
		err = c.client.Send(mail)
		if interrupted := !stop(); interrupted && err != nil {
			err = errors.Join(err, context.Cause(ctx))
		}
		if err == nil || mail.IsDelivered() {
			e.keep(c, err == nil)
			return "", nil
		}
		var failure *gomail.SendError
		isReply := errors.As(err, &failure) && failure.ErrorCode() > 0
		before := failure != nil && (failure.Reason == gomail.ErrSMTPMailFrom || failure.Reason == gomail.ErrConnCheck)
		e.keep(c, isReply && (before || failure.Reason == gomail.ErrSMTPRcptTo))
		if kept && !isReply && before && ctx.Err() == nil {
			continue // nothing of the mail was said yet
		}
		return "", e.judge(err, failure)
	}
}

// connect takes a connection that is idle, or makes one.
func (e *Email) connect(ctx context.Context) (c *connection, kept bool, err error) {
	select {
	case c := <-e.idle:
		return c, true, nil
	default:
	}
	dialing, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if c, err = e.newConnection(); err != nil {
		return nil, false, &Permanent{err}
	}
	stop := context.AfterFunc(dialing, c.hangUp)
	err = c.client.DialWithContext(dialing)
	if !stop() && err == nil {
		err = context.Cause(dialing)
	}
	if err != nil {
		c.hangUp()
		return nil, false, &Unavailable{fmt.Errorf("connect to the mail server %s:%d: %w", e.config.Host, e.config.Port, err)}
	}
	return c, false, nil
}

func (e *Email) keep(c *connection, sound bool) {
	if sound {
		select {
		case e.idle <- c:
			return
		default:
		}
	}
	c.close()
}

// judge says what an answer means: 4xx may pass, 5xx of the recipient or the mail does not, and 5xx before them is about
// us, so that no other mail would fare better.
func (e *Email) judge(err error, failure *gomail.SendError) error {
	if failure == nil {
		return err
	}
	code := failure.ErrorCode()
	switch {
	case code == 421, code >= 500 && failure.Reason == gomail.ErrSMTPMailFrom:
		return &Unavailable{fmt.Errorf("the mail server %s refuses: %w", e.config.Host, err)}
	case code >= 500:
		return &Permanent{err}
	case code == 0 && failure.Reason == gomail.ErrSMTPDataClose:
		return &Uncertain{err}
	}
	return err
}

func (e *Email) compose(m *Message) (*gomail.Msg, error) {
	msg := gomail.NewMsg()
	to, err := mail.ParseAddress(m.To)
	if err != nil {
		return nil, fmt.Errorf("the e-mail address of the account: %w", err)
	}
	msg.FromMailAddress(e.config.From)
	msg.ToMailAddress(&mail.Address{Address: to.Address})
	if e.config.ReplyTo != nil {
		msg.ReplyToMailAddress(e.config.ReplyTo)
	}
	msg.Subject(m.Subject)
	msg.SetDateWithValue(e.config.Clock())
	_, domain, _ := strings.Cut(e.config.From.Address, "@")
	msg.SetMessageIDWithValue(m.ID + "@" + domain)
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetGenHeader("X-Auto-Response-Suppress", "All")
	msg.SetGenHeader("Content-Language", m.Locale)
	msg.SetListUnsubscribe(e.unsubscribe(m.Account))
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	return msg, nil
}

func (e *Email) unsubscribe(account string) string {
	if e.config.Unsubscribe == "" {
		return "mailto:" + e.config.From.Address + "?subject=unsubscribe"
	}
	return strings.ReplaceAll(e.config.Unsubscribe, "{account}", url.QueryEscape(account))
}
