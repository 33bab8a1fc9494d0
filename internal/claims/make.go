package claims

// Text returns s as a string value. Unlike [Of] it cannot fail, and it does not check that s is UTF-8:
// use it for text that was checked where it came in.
func Text(s string) Value { return Value(string(rune(String)) + s) }

// Value returns o as a value, to be kept as a member of another object.
func (o Object) Value() Value { return Value(string(rune(Members)) + string(o)) }
