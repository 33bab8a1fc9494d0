package main

import (
	"syscall"
	"time"
)

// processorTime returns the processor time that this process has used.
func processorTime() time.Duration {
	var created, exited, kernel, user syscall.Filetime
	self, _ := syscall.GetCurrentProcess() // cannot fail
	_ = syscall.GetProcessTimes(self, &created, &exited, &kernel, &user)
	return span(kernel) + span(user)
}

// span is a Filetime that counts from nothing, not from 1601, in steps of 100 nanoseconds.
func span(f syscall.Filetime) time.Duration {
	return time.Duration(int64(f.HighDateTime)<<32|int64(f.LowDateTime)) * 100
}
