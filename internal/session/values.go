package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
)

// Values are the application's values as a request knows them. The zero value is none.
type Values struct {
	Current claims.Object // as they lie in the store, as far as known

	record record // in which they lie; zero: there is none
	noted  bool   // the session's record says that there are values
}

// ReadValues returns the values of a session as they are now. They may restrict what the visitor
// may do. The error is ErrGone where they are damaged, or missing, as after a logout that came in
// between, and ErrForeign for values that only another replica can open.
func (k *Keeper) ReadValues(ctx context.Context, s *Session) (Values, error) {
	v, err := k.readValues(ctx, s.ID)
	there := v.record.sealed != nil
	if err == nil && !there && s.Identity.HasValues && k.limits.Values {
		return Values{}, ErrGone
	}
	v.noted = s.Identity.HasValues
	if there && !v.noted { // an older version has put them: best effort, the next request tries again
		v.noted = k.noteValues(ctx, s.ID) == nil
	}
	return v, err
}

// readValues is ReadValues for a session of which is not known whether there are any.
func (k *Keeper) readValues(ctx context.Context, id ID) (Values, error) {
	r, err := k.read(ctx, valuesKind, id)
	switch {
	case err == errForeign, err == errDamaged:
		return Values{}, err
	case errors.Is(err, ErrGone):
		return Values{}, nil
	case err != nil:
		return Values{}, err
	}
	return Values{Current: claims.Object(r.plaintext), record: r}, nil
}

// saveAgain is how long to wait at most before values that another request has changed are saved.
const saveAgain = 10 * time.Millisecond

// SaveValues writes what merge makes of the current values, and updates v. When another request has
// changed the record meanwhile, it is read again and merge is called again. The error is ErrGone
// when the session was ended, or its values are lost: it gets no record then.
func (k *Keeper) SaveValues(
	ctx context.Context, s *Session, v *Values, merge func(current claims.Object) claims.Object,
) error {
	ctx, cancel := Within(ctx, writeTimeout)
	defer cancel()
	for {
		err := k.writeValues(ctx, s, v, merge(v.Current))
		if !errors.Is(err, errChanged) && !errors.Is(err, ErrGone) {
			return err
		}
		if err := k.stillThere(ctx, s.ID); err != nil {
			return err
		}
		// Not all of those who met come again at the same time.
		if err := sleep(ctx, k.jitter(saveAgain)); err != nil {
			return fmt.Errorf("oidcgate: the values changed all the time while they were saved: %w", err)
		}
		now, err := k.readValues(ctx, s.ID)
		switch {
		case err == errForeign:
			return errForeignValues
		case err != nil:
			return err
		}
		had := v.noted || v.record.sealed != nil
		if *v = now; had && now.record.sealed == nil {
			v.noted = true
			return ErrGone
		}
	}
}

// errForeignValues is errForeign as an error of its own: the session is not gone.
var errForeignValues = errors.New(errForeign.Error())

// ErrValuesTooLarge is wrapped where values would grow beyond the bound, whoever put them.
var ErrValuesTooLarge = errors.New("oidcgate: the values are larger than Limits.SessionBytes")

func (k *Keeper) writeValues(
	ctx context.Context, s *Session, v *Values, values claims.Object,
) error {
	switch {
	case values == v.Current:
		return nil
	case v.noted && v.record.sealed == nil:
		return ErrGone // they are lost
	case len(values) > k.limits.MaxBytes && len(values) >= len(v.Current):
		return ErrValuesTooLarge // what makes a record smaller is always saved
	}
	fresh, err := k.seal(valuesKind, s.ID, Times{Deadline: s.Times.Deadline}, []byte(values))
	if err != nil {
		return err
	}
	if v.record.sealed != nil {
		err = k.swap(ctx, v.record, fresh)
	} else {
		err = k.create(ctx, fresh)
	}
	if err == nil && !v.noted {
		err = k.noteValues(ctx, s.ID)
	}
	if err != nil {
		return err
	}
	*v = Values{Current: values, record: fresh, noted: true}
	return nil
}

// noteValues notes in the session's record that there are values. The error is ErrGone when the
// session was ended meanwhile.
func (k *Keeper) noteValues(ctx context.Context, id ID) error {
	return k.editIdentity(ctx, id, func(identity *Identity) bool {
		known := identity.HasValues
		identity.HasValues = true
		return !known
	})
}

// stillThere makes sure that the session was not ended meanwhile. A logout deletes the identity
// first and the values last, so one of the two deletes a record that was made in between.
func (k *Keeper) stillThere(ctx context.Context, id ID) error {
	alive, err := k.alive(ctx, k.Handle(id))
	if err == nil && !alive {
		_ = k.store.Delete(ctx, k.idKey(valuesPrefix, id), nil) // best effort: nobody can read it
		return ErrGone
	}
	return err
}
