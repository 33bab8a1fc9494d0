package oidcgateotel

import "go.opentelemetry.io/otel/attribute"

// scope names this package to OpenTelemetry.
const scope = "github.com/oidcgate/oidcgate/oidcgateotel"

// The metrics.
const (
	loginStarted     = "oidcgate.login.started"
	loginSucceeded   = "oidcgate.login.succeeded"
	loginRefused     = "oidcgate.login.refused"
	refreshSucceeded = "oidcgate.refresh.succeeded"
	refreshFailed    = "oidcgate.refresh.failed"
	sessionBegun     = "oidcgate.session.begun"
	sessionEnded     = "oidcgate.session.ended"
	eventDelivered   = "oidcgate.event.delivered"
	eventDropped     = "oidcgate.event.dropped"
	providerDuration = "oidcgate.provider.request.duration"
	storeDuration    = "oidcgate.store.operation.duration"
)

// The attributes of metrics and spans. Those without "oidcgate" are of the semantic conventions.
const (
	keyProvider  = attribute.Key("oidcgate.provider")
	keyReason    = attribute.Key("oidcgate.reason")
	keyEvent     = attribute.Key("oidcgate.event.type")
	keyPurpose   = attribute.Key("oidcgate.purpose")
	keyOperation = attribute.Key("oidcgate.store.operation")
	keyStatus    = attribute.Key("http.response.status_code")
	keyErrorType = attribute.Key("error.type")
)

// The attributes of spans alone.
const (
	keyReference = attribute.Key("oidcgate.reference") // stands on the visitor's page
	keyMethod    = attribute.Key("http.request.method")
	keyServer    = attribute.Key("server.address")
	keyPort      = attribute.Key("server.port")
	keyBatchSize = attribute.Key("oidcgate.store.batch.size")
)
