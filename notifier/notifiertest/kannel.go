package notifiertest

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"
)

// Kannel is a running SMS gateway that hands messages to an SMS centre by SMPP 3.4.
type Kannel struct {
	SendSMS            string // the address of sendsms
	Username, Password string
	Centre             *Centre
}

// StartKannel starts bearerbox and smsbox before an SMS centre of our own. They end with the test. Where Kannel is not
// installed, the test is skipped, unless CI is "true" and the machine's packages have it.
func StartKannel(t testing.TB) *Kannel {
	t.Helper()
	bearerbox, err := findKannel("bearerbox")
	if err != nil {
		noKannel(t, err)
	}
	smsbox, err := findKannel("smsbox")
	if err != nil {
		noKannel(t, err)
	}
	k := &Kannel{Username: "drawdown", Password: "s3cret & more", Centre: startCentre(t)}
	var ports [3]string
	for i := range ports {
		address, err := freeAddress()
		if err != nil {
			t.Fatal(err)
		}
		_, ports[i], _ = net.SplitHostPort(address)
	}
	_, centre, _ := net.SplitHostPort(k.Centre.listener.Addr().String())
	dir := scratch(t)
	config := filepath.Join(dir, "kannel.conf")
	text := strings.NewReplacer("ADMIN", ports[0], "BOX", ports[1], "SEND", ports[2], "CENTRE", centre, "DIR", dir,
		"USER", k.Username, "WORD", k.Password).Replace(kannelConfig)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answers := func(address, wanted string) func() error {
		return func() error {
			response, err := client.Get(address)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err == nil && !strings.Contains(string(body), wanted) {
				err = fmt.Errorf("%s says %s", address, body)
			}
			return err
		}
	}
	err = start(t, exec.Command(bearerbox, "-v", "4", config), answers("http://127.0.0.1:"+ports[0]+"/status.txt?password=admin", "online"))
	if err == nil {
		k.SendSMS = "http://127.0.0.1:" + ports[2] + "/cgi-bin/sendsms"
		err = start(t, exec.Command(smsbox, "-v", "4", config), answers(k.SendSMS, "Authorization failed"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func noKannel(t testing.TB, err error) {
	t.Helper()
	if exec.Command("apt-cache", "show", "kannel").Run() == nil {
		// It is a package of Debian, which not every machine may install: the last lines of `make test` name it.
		t.Skipf("Kannel is missing, its SMS are NOT tested: %v", err)
	}
	t.Skipf("Kannel is missing, and no package of this machine has it; its SMS are NOT tested: %v", err)
}

func findKannel(name string) (string, error) {
	for _, place := range []string{name, "/usr/sbin/" + name, "/usr/local/sbin/" + name} {
		if program, err := exec.LookPath(place); err == nil {
			return program, nil
		}
	}
	return "", fmt.Errorf("there is no %s; install the packages kannel and kannel-extras", name)
}

const kannelConfig = `group = core
admin-port = ADMIN
admin-interface = 127.0.0.1
admin-password = admin
smsbox-port = BOX
smsbox-interface = 127.0.0.1
box-allow-ip = 127.0.0.1
log-file = DIR/bearerbox.log
store-type = file
store-location = DIR/store
dlr-storage = internal

group = smsc
smsc = smpp
smsc-id = centre
host = 127.0.0.1
port = CENTRE
transceiver-mode = true
smsc-username = kannel
smsc-password = kannel
system-type = test
alt-charset = ASCII
reconnect-delay = 1
throughput = 1000

group = smsbox
bearerbox-host = 127.0.0.1
bearerbox-port = BOX
sendsms-port = SEND
sendsms-interface = 127.0.0.1
log-file = DIR/smsbox.log

group = sendsms-user
username = USER
password = "WORD"
concatenation = true
max-messages = 5

group = sms-service
keyword = default
max-messages = 0
text = none
`

// Centre is an SMS centre that speaks as much SMPP 3.4 as a gateway needs: it takes messages, and reports each as
// delivered.
type Centre struct {
	listener net.Listener
	lock     sync.Mutex
	messages []ShortMessage
	came     chan struct{}
}

// ShortMessage is a segment as the centre gets it.
type ShortMessage struct {
	To   string
	UCS2 bool
	Text string
}

// The commands of SMPP that are spoken.
const (
	bindTransceiver = 0x00000009
	submitSM        = 0x00000004
	deliverSM       = 0x00000005
	enquireLink     = 0x00000015
	unbind          = 0x00000006
	isResponse      = 0x80000000
)

func startCentre(t testing.TB) *Centre {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &Centre{listener: listener, came: make(chan struct{}, 10000)}
	var serving sync.WaitGroup
	var lock sync.Mutex
	open := map[net.Conn]bool{}
	serving.Go(func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			lock.Lock()
			open[connection] = true
			lock.Unlock()
			serving.Go(func() { c.serve(connection) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		lock.Lock()
		for connection := range open {
			connection.Close()
		}
		lock.Unlock()
		serving.Wait()
	})
	return c
}

// Wait gives the messages once there are so many.
func (c *Centre) Wait(t testing.TB, n int) []ShortMessage {
	t.Helper()
	patience := time.After(30 * time.Second)
	for {
		c.lock.Lock()
		messages := append([]ShortMessage{}, c.messages...)
		c.lock.Unlock()
		if len(messages) >= n {
			return messages
		}
		select {
		case <-c.came:
		case <-patience:
			t.Fatalf("%d of %d messages came", len(messages), n)
		}
	}
}

func (c *Centre) serve(connection net.Conn) {
	defer connection.Close()
	sequence := uint32(1)
	for {
		var header [16]byte
		if _, err := io.ReadFull(connection, header[:]); err != nil {
			return
		}
		size, command, number := binary.BigEndian.Uint32(header[:]), binary.BigEndian.Uint32(header[4:]), binary.BigEndian.Uint32(header[12:])
		body := make([]byte, size-16)
		if _, err := io.ReadFull(connection, body); err != nil {
			return
		}
		answer := func(content string) { writePDU(connection, command|isResponse, number, []byte(content)) }
		switch command {
		case bindTransceiver:
			answer("centre\x00")
		case enquireLink:
			answer("")
		case unbind:
			answer("")
			return
		case submitSM:
			id, receipt := c.take(body)
			answer(id + "\x00")
			if receipt != nil {
				sequence++
				writePDU(connection, deliverSM, sequence, receipt)
			}
		}
	}
}

func writePDU(w io.Writer, command, sequence uint32, body []byte) {
	pdu := binary.BigEndian.AppendUint32(nil, uint32(16+len(body)))
	pdu = binary.BigEndian.AppendUint32(pdu, command)
	pdu = binary.BigEndian.AppendUint32(pdu, 0)
	pdu = binary.BigEndian.AppendUint32(pdu, sequence)
	_, _ = w.Write(append(pdu, body...)) // a gateway that has gone asks again
}

// take reads a submit_sm, and gives the message's id and the body of the deliver_sm that reports it, where it is asked for.
func (c *Centre) take(body []byte) (id string, receipt []byte) {
	text := func() string {
		end := strings.IndexByte(string(body), 0)
		value := string(body[:end])
		body = body[end+1:]
		return value
	}
	octet := func() byte {
		value := body[0]
		body = body[1:]
		return value
	}
	text() // service type
	octet()
	octet()
	from := text()
	octet()
	octet()
	to := text()
	class := octet()
	octet()
	octet()
	text()
	text()
	registered, _, coding, _ := octet(), octet(), octet(), octet()
	length := int(octet())
	content := body[:length]
	if class&0x40 != 0 { // of several: the header says which one
		content = content[1+int(content[0]):]
	}
	m := ShortMessage{To: to, UCS2: coding == 8, Text: string(content)}
	if m.UCS2 {
		units := make([]uint16, len(content)/2)
		for i := range units {
			units[i] = binary.BigEndian.Uint16(content[2*i:])
		}
		m.Text = string(utf16.Decode(units))
	}
	c.lock.Lock()
	c.messages = append(c.messages, m)
	id = fmt.Sprintf("%08x", len(c.messages))
	c.lock.Unlock()
	c.came <- struct{}{}
	if registered&1 == 0 {
		return id, nil
	}
	report := fmt.Sprintf("id:%s sub:001 dlvrd:001 submit date:2610240800 done date:2610240800 stat:DELIVRD err:000 text:", id)
	receipt = append(receipt, "\x00\x01\x01"+to+"\x00\x01\x01"+from+"\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00"...)
	receipt = append(receipt, byte(len(report)))
	return id, append(receipt, report...)
}
