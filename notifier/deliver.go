package notifier

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"drawdown/rating"
)

// ClaimFor is how long a worker has a message alone; it begins no sending in the last SendFor of it.
const (
	ClaimFor = 15 * time.Minute
	SendFor  = 5 * time.Minute
)

// Sender sends one message, and gives what the other side calls it. Its errors may be [Permanent], [Uncertain] or
// [Unavailable]; any other may pass when it is tried again.
type Sender interface {
	Send(ctx context.Context, m *Message) (reference string, err error)
}

// Permanent is an error that no further attempt can mend.
type Permanent struct{ Err error }

func (e *Permanent) Error() string { return e.Err.Error() }
func (e *Permanent) Unwrap() error { return e.Err }

// Uncertain is an error after which the message may have arrived all the same.
type Uncertain struct{ Err error }

func (e *Uncertain) Error() string { return e.Err.Error() }
func (e *Uncertain) Unwrap() error { return e.Err }

// Unavailable is an error that any message would meet: the server is down, or refuses us. It is not the message's fault
// and does not count as an attempt of it.
type Unavailable struct{ Err error }

func (e *Unavailable) Error() string { return e.Err.Error() }
func (e *Unavailable) Unwrap() error { return e.Err }

// Claimed is a message that this process alone may send until its claim runs out.
type Claimed struct {
	ID, Channel, Account string
	Attempts             int
	Claim                int64
	WasSending           bool   // another worker had it, and was not heard of again
	Report               string // a delivery report has come meanwhile
	Notices              []Notice
}

// Outcome is what became of a claimed message.
type Outcome struct {
	ID            string
	Claim         int64
	State         string
	Attempted     bool // counts as an attempt
	NextAttemptAt rating.Instant
	SentAt        rating.Instant
	Recipient     string
	Reference     string
	Error         string
}

// Queue holds the messages that wait.
type Queue interface {
	// Plan makes messages of notices that are new, and gives the number of notices; 0: there are none.
	Plan(ctx context.Context, now rating.Instant) (notices int, err error)
	Claim(ctx context.Context, now, until rating.Instant, channel string, limit int) ([]Claimed, error)
	// Mark gives the number of outcomes that came too late: another worker has the message now.
	Mark(ctx context.Context, outcomes []Outcome) (lost int, err error)
}

// Recent is how much an address was sent of late, and since when.
type Recent struct {
	Messages int
	First    rating.Instant
}

// History counts what recipients were sent since an instant.
type History interface {
	Recent(ctx context.Context, since rating.Instant, recipients []string) (map[string]Recent, error)
}

// Channel is a sender, and how it may be used.
type Channel struct {
	Sender    Sender
	Workers   int
	PerSecond int // messages; 0: as many as it takes
}

// Delivery sends what waits.
type Delivery struct {
	Queue    Queue
	History  History
	Words    *Words
	Policy   *Policy
	Contact  func(account string) *Contact
	Channels map[string]Channel
	Clock    func() rating.Instant
	Progress func(sent int)
	// Hook, where it is set, is called at each step of a message with its name. Tests stop or kill the program there.
	Hook func(step string) error
}

// Steps of a message, in their order. Between StepAccepted and StepMarked lies what makes a second copy.
const (
	StepPlanned  = "planned"
	StepClaimed  = "claimed"
	StepComposed = "composed"
	StepAccepted = "accepted"
	StepMarking  = "marking"
	StepMarked   = "marked"
)

// Summary is what a delivery did.
type Summary struct {
	Notices int            // that were new
	States  map[string]int // messages by what became of them; pending: tried again later
	Lost    int            // messages that took too long, so that another worker took them
}

// Run sends all that is due. What fails for the moment is due again later; a channel that is unavailable ends, and the
// others go on.
func (d *Delivery) Run(ctx context.Context) (*Summary, error) {
	summary := &Summary{States: map[string]int{}}
	for {
		n, err := d.Queue.Plan(ctx, d.Clock())
		if err == nil && n > 0 {
			err = d.step(StepPlanned)
		}
		summary.Notices += n
		if err != nil {
			return summary, err
		}
		if n == 0 {
			break
		}
	}
	var lock sync.Mutex
	var all sync.WaitGroup
	var failed error
	for _, name := range []string{ChannelEmail, ChannelSMS, ChannelWebhook} {
		channel := d.Channels[name] // without a sender, what waits from before is recorded as having nowhere to go
		channel.Workers = max(1, channel.Workers)
		all.Go(func() {
			run := &channelRun{Delivery: d, name: name, Channel: channel, states: map[string]int{}}
			err := run.run(ctx)
			lock.Lock()
			defer lock.Unlock()
			for state, n := range run.states {
				summary.States[state] += n
			}
			summary.Lost += run.lost
			failed = errors.Join(failed, err)
		})
	}
	all.Wait()
	return summary, failed
}

func (d *Delivery) step(name string) error {
	if d.Hook == nil {
		return nil
	}
	return d.Hook(name)
}

// channelRun sends what is due on one channel.
type channelRun struct {
	*Delivery
	Channel
	name   string
	states map[string]int
	lost   int
	recent map[string]Recent // of the messages in hand
	down   error             // what makes the channel unavailable
}

// inHand is how many messages a worker takes at a time.
const inHand = 64

func (r *channelRun) run(ctx context.Context) error {
	pace := newPacer(r.PerSecond)
	defer pace.stop()
	for r.down == nil {
		until := r.Clock() + rating.Instant(ClaimFor.Microseconds())
		claimed, err := r.Queue.Claim(ctx, r.Clock(), until, r.name, inHand*r.Workers)
		if err == nil && len(claimed) > 0 {
			err = r.step(StepClaimed)
		}
		if err != nil || len(claimed) == 0 {
			return err
		}
		prepared, outcomes, err := r.prepare(ctx, claimed)
		if err == nil {
			err = r.mark(ctx, outcomes)
		}
		if err == nil {
			err = r.send(ctx, prepared, until, pace)
		}
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: %w; what waits is tried again at the next run", r.name, r.down)
}

// parcel is what is to be told under a claim, and to whom.
type parcel struct {
	claim   *Claimed
	notices []Notice
	contact *Contact
}

// prepare finds what may be sent now, and says what becomes of the rest.
func (r *channelRun) prepare(ctx context.Context, claimed []Claimed) (ready []parcel, outcomes []Outcome, err error) {
	now := r.Clock()
	var recipients []string
	for i := range claimed {
		if c := r.Contact(claimed[i].Account); c.address(r.name) != "" {
			recipients = append(recipients, recipient(r.name, c.address(r.name)))
		}
	}
	if r.limited() {
		if r.recent, err = r.History.Recent(ctx, now-rating.Instant(time.Hour.Microseconds()), recipients); err != nil {
			return nil, nil, err
		}
	}
	for i := range claimed {
		c := &claimed[i]
		outcome, useful := r.consider(c, now)
		if useful == nil {
			outcomes = append(outcomes, outcome)
			continue
		}
		ready = append(ready, parcel{c, useful, r.Contact(c.Account)})
	}
	return ready, outcomes, err
}

// consider decides what of a message is sent now; without anything, the outcome says what becomes of it.
func (r *channelRun) consider(c *Claimed, now rating.Instant) (Outcome, []Notice) {
	o := Outcome{ID: c.ID, Claim: c.Claim, State: Pending}
	contact := r.Contact(c.Account)
	var useful []Notice
	why := "it tells of nothing that is still found"
	for i := range c.Notices {
		if reason := r.Policy.useful(&c.Notices[i], now); reason != "" {
			why = reason
			continue
		}
		useful = append(useful, c.Notices[i])
	}
	reach, unreached := r.Policy.reach(r.name, contact)
	switch quiet, isQuiet := contact.Quiet.until(now, contact.Zone); {
	case c.WasSending && c.Report != "":
		o.State, o.SentAt = Sent, now
		return o, nil
	case c.WasSending && r.name == ChannelSMS && !r.Policy.RepeatSMS:
		o.State, o.Error = Unknown, "the program ended while it was sent, and its answer is not known"
		return o, nil
	case len(useful) == 0:
		o.State, o.Error = Expired, why
		return o, nil
	case reach != Pending:
		o.State, o.Error = reach, unreached
		return o, nil
	case r.name == ChannelSMS && isQuiet:
		o.NextAttemptAt, o.Error = quiet, "it waits for the end of quiet hours"
		return o, nil
	}
	if r.limited() {
		to := recipient(r.name, contact.address(r.name))
		recent := r.recent[to]
		if recent.Messages >= r.Policy.PerRecipient {
			o.NextAttemptAt = recent.First + rating.Instant(time.Hour.Microseconds())
			o.Error = fmt.Sprintf("it waits, since its recipient had %d messages within the hour", recent.Messages)
			return o, nil
		}
		if recent.Messages == 0 {
			recent.First = now
		}
		recent.Messages++
		r.recent[to] = recent
	}
	return o, useful
}

// compose puts a parcel into words.
func (r *channelRun) compose(p parcel) (*Message, error) {
	message, err := r.Words.Compose(p.notices, p.contact, r.name)
	if err != nil {
		return nil, &Permanent{fmt.Errorf("compose: %w", err)}
	}
	message.ID = p.claim.ID
	return message, r.step(StepComposed)
}

// gather waits for outcomes that are still to come: for the first as long as it takes, and for as many as there are workers
// a moment. Each write costs; but what was sent and is not marked is sent again where the program dies. So no more than
// twice as many wait to be marked, and who has sent another one waits, too.
func (r *channelRun) gather(done <-chan Outcome, left int) []Outcome {
	outcomes := []Outcome{<-done}
	timer := time.NewTimer(15 * time.Millisecond)
	defer timer.Stop()
	for len(outcomes) < min(left, r.Workers) {
		select {
		case o := <-done:
			outcomes = append(outcomes, o)
		case <-timer.C:
			return outcomes
		}
	}
	for {
		select {
		case o := <-done:
			outcomes = append(outcomes, o)
		default:
			return outcomes
		}
	}
}

// send sends by all workers, and marks what has been sent.
func (r *channelRun) send(ctx context.Context, parcels []parcel, until rating.Instant, pace pacer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	work, done := make(chan parcel), make(chan Outcome, r.Workers)
	var workers sync.WaitGroup
	var down errorBox
	for range r.Workers {
		workers.Go(func() {
			for p := range work {
				done <- r.sendOne(ctx, p, until, pace, &down)
			}
		})
	}
	workers.Go(func() {
		defer close(work)
		for _, p := range parcels {
			work <- p
		}
	})
	var failed error
	for left := len(parcels); left > 0; {
		outcomes := r.gather(done, left)
		left -= len(outcomes)
		// What was sent is marked also when the run is interrupted meanwhile: else it would be sent again.
		if failed == nil {
			if failed = r.mark(context.WithoutCancel(ctx), outcomes); failed != nil {
				cancel()
			}
		}
	}
	workers.Wait()
	r.down = down.get()
	return errors.Join(failed, context.Cause(ctx))
}

// sendOne sends a message, unless there is no time left for it, or the channel is down.
func (r *channelRun) sendOne(ctx context.Context, p parcel, until rating.Instant, pace pacer, down *errorBox) Outcome {
	o := Outcome{ID: p.claim.ID, Claim: p.claim.Claim, State: Pending, Recipient: recipient(r.name, p.contact.address(r.name)), NextAttemptAt: r.Clock()}
	if err := pace.wait(ctx); err != nil || down.get() != nil || r.Clock() > until-rating.Instant(SendFor.Microseconds()) {
		o.Recipient = ""
		if failure := down.get(); failure != nil {
			o.Error = failure.Error()
			o.NextAttemptAt += rating.Instant(time.Minute.Microseconds())
		}
		return o
	}
	message, err := r.compose(p)
	reference := ""
	if err == nil {
		sending, cancel := finishing(ctx)
		reference, err = r.Sender.Send(sending, message)
		cancel()
	}
	if err == nil {
		err = r.step(StepAccepted)
	}
	now := r.Clock()
	attempts := p.claim.Attempts + 1
	o.Attempted = true
	var permanent *Permanent
	var uncertain *Uncertain
	var unavailable *Unavailable
	switch {
	case err == nil:
		o.State, o.SentAt, o.Reference, o.NextAttemptAt = Sent, now, reference, 0
		return o
	case errors.As(err, &unavailable):
		down.set(err)
		o.Attempted, o.NextAttemptAt = false, now+rating.Instant(time.Minute.Microseconds())
	case errors.As(err, &permanent):
		o.State = Dead
	case errors.As(err, &uncertain) && r.name == ChannelSMS && !r.Policy.RepeatSMS:
		o.State = Unknown
	case attempts >= r.Policy.Attempts:
		o.State = Dead
	default:
		o.NextAttemptAt = now + rating.Instant(backoff(p.claim.ID, attempts).Microseconds())
	}
	o.Recipient, o.Error = "", cutError(err)
	return o
}

// finishing gives a message that is being sent some seconds to its end where the run is interrupted: cut off, it would
// have to be sent again.
func finishing(ctx context.Context) (context.Context, context.CancelFunc) {
	sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), SendFor)
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(10 * time.Second)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-sending.Done():
		}
	})
	return sending, func() {
		stop()
		cancel()
	}
}

// limited tells whether so much at most goes to one address: to people, while a webhook is a program's.
func (r *channelRun) limited() bool { return r.Policy.PerRecipient > 0 && r.name != ChannelWebhook }

// mark writes down what became of messages.
func (r *channelRun) mark(ctx context.Context, outcomes []Outcome) error {
	if len(outcomes) == 0 {
		return nil
	}
	err := r.step(StepMarking)
	if err != nil {
		return err
	}
	lost, err := r.Queue.Mark(ctx, outcomes)
	if err != nil {
		return err
	}
	r.lost += lost
	for i := range outcomes {
		r.states[outcomes[i].State]++
	}
	if r.Progress != nil {
		r.Progress(len(outcomes))
	}
	return r.step(StepMarked)
}

// cutError keeps an answer of the other side from filling the database.
func cutError(err error) string {
	text := plainLine(err.Error())
	if runes := []rune(text); len(runes) > 500 {
		text = string(runes[:499]) + "…"
	}
	return text
}

// errorBox holds the first error of several workers.
type errorBox struct {
	lock sync.Mutex
	err  error
}

func (b *errorBox) set(err error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	if b.err == nil {
		b.err = err
	}
}

func (b *errorBox) get() error {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.err
}

// pacer lets so many through a second; the zero value lets all through.
type pacer struct{ ticker *time.Ticker }

func newPacer(perSecond int) pacer {
	if perSecond <= 0 {
		return pacer{}
	}
	return pacer{time.NewTicker(time.Second / time.Duration(perSecond))}
}

func (p pacer) wait(ctx context.Context) error {
	if p.ticker == nil {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-p.ticker.C:
		return nil
	}
}

func (p pacer) stop() {
	if p.ticker != nil {
		p.ticker.Stop()
	}
}
