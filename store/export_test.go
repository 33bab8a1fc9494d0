package store

// Len returns how many entries m holds, the expired that were not swept yet
// included.
func (m *Memory) Len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.queue)
}
