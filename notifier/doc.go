// Package notifier tells people what a settlement found: which messages a notice becomes ([Plan]), their words ([Words]),
// and their delivery ([Delivery]) by a sender of one method for each channel: [Email], [SMS] and [Webhook].
//
// What lives here: what is about telling a person. What does not: what is due (rating), tables (writers/store), and
// anything that would change a balance or stop a settlement.
//
// # How often a message arrives
//
// A notice is decided once and stored once, with the settlement itself. It becomes a message, whose id is made of the
// notices it tells of and never changes. A worker claims a message for [ClaimFor], sends it, and writes down that it was
// sent. Between the other side's answer and that write a process may die, or the answer may be lost. Nobody can know then
// whether the message arrived; it is tried again when the claim has run out, so it arrives at least once, and twice only
// there. A second copy has the same Message-ID (e-mail) or webhook-id, by which it is known. An SMS shows no id and costs
// money, so one whose fate is not known is not tried again by itself: it waits as unknown for a delivery report, or for a
// person.
package notifier
