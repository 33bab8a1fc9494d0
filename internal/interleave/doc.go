// Package interleave is a model checker for concurrent code that uses a [store.Store]. It executes
// the code in every possible order of its store operations, and with faults of the store, the
// network and the process.
//
// It executes the real code, not a model of it. A [Scenario] starts a few actors. Each actor is a
// goroutine with its own [store.Store] from [Run.Store]. Every store operation waits until the
// explorer releases it, one at a time; testing/synctest reports when all goroutines are blocked.
// [Explore] executes the scenario again and again, each time in another order, until all orders
// have been tried. It returns an order that breaks a promise as a [Violation], whose text is the
// list of the steps in that order.
//
// The tests explore login, refresh, logout and values of the gate. protocol_test.go has the
// scenarios and the promises that must hold in them. mutants_test.go changes the order of single
// steps of the protocol or omits them, and the explorer must find each of these errors. To run
// every scenario with every fault takes ten minutes:
//
//	go test ./internal/interleave -run Faults -timeout 30m -all
//
// # Why it ends
//
// Two orders that lead to the same state have the same continuations, so only one of them is
// followed. A state consists of the contents of the store, the answers that every actor has
// received, and the operations that are waiting. A random value is named after the place where it
// was made, so that two executions that differ only in random values have the same states. Orders
// that differ only in the order of independent steps are not tried twice (sleep sets combined with
// state matching: P. Godefroid, Partial-Order Methods for the Verification of Concurrent Systems,
// 1996, section 5.2). For that reason a promise is checked at the end of an execution or inside a
// step, but never between two independent steps.
//
// # What is assumed
//
// An actor's next step depends only on the answers it received and on the clock. Actors share
// nothing except the store and what they do in [Run.Step]; each has its own gate, for example. The
// clock advances only by [Tick], by [Stall], and when no actor can continue.
package interleave
