package store

// Len returns how many entries m holds, including expired ones that no write has dropped yet.
func (m *Memory) Len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.queue)
}
