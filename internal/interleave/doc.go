// Package interleave runs concurrent code through every order in which its steps can meet at a
// store, and through the faults that a store, a network and a process have.
//
// What runs is the code itself, not a description of it. A [Scenario] starts a few actors, each a
// goroutine with a [store.Store] of its own from [Run.Store]. Every operation waits there until the
// explorer lets it go, one at a time. In between, testing/synctest tells when all goroutines stand
// still. [Explore] executes the scenario again and again, each time in another order, until there
// is no other. An order that breaks a promise is returned as a [Violation], whose text is the list
// of steps that led there.
//
// The tests explore the Keeper of internal/session: its logins, refreshes, logouts, claims and
// values. An actor is a replica with a keeper of its own, which serves one request. The requests
// are in service_test.go and call the keeper in the order in which the gate does. What meets what
// stands in protocol_test.go, with what must hold. mutants_test.go does each step of the keeper in
// another order or not at all, and that must be found. Every fault in every scenario, two faults
// in one execution and the largest scenarios take most of an hour:
//
//	go test ./internal/interleave -timeout 90m -all
//
// # Why it ends
//
// Two orders that lead to the same state go on in the same way, so only one is followed. A state is
// what the store holds, what every actor has been answered so far, and what waits to be done. An
// actor's randomness is named by where it was made, because the same answers would have led to the
// same choice up to chance. Orders that differ only in steps that do not touch each other are not
// tried twice (sleep sets, with the states already seen: P. Godefroid, Partial-Order Methods for
// the Verification of Concurrent Systems, 1996, section 5.2). A promise is therefore checked where
// an execution ends, or inside a step, and never between two steps that have nothing to do with
// each other.
//
// # What is assumed
//
// An actor's next step follows from the answers it got and from the clock, and not from the order
// in which steps were answered that it makes at the same time: it waits for all of them. Actors
// share nothing but the store and what they do in [Run.Step]. The clock stands still but for
// [Tick], [Stall] and when nobody can move.
package interleave
