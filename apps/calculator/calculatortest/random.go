package calculatortest

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/google/uuid"

	"github.com/tidemill/tidemill/apps/calculator"
)

// Random makes commands that go well, are rejected for every reason there is, come twice, and come twice with another
// body. Equal seeds make equal commands. It is not safe for concurrent use.
type Random struct {
	rand   *rand.Rand
	values int
	now    int64
	recent []calculator.Command
}

// remembered is how many commands may be repeated.
const remembered = 64

// NewRandom returns a generator of commands on so many values, beginning at a time in milliseconds since the epoch.
func NewRandom(seed uint64, values int, start int64) *Random {
	return &Random{rand: rand.New(rand.NewPCG(seed, seed^0x9e3779b97f4a7c15)), values: values, now: start}
}

// ID returns the id of the index-th value.
func ID(index int) string {
	var bytes [16]byte
	binary.BigEndian.PutUint64(bytes[:], uint64(index)*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(bytes[8:], uint64(index))
	return uuid.UUID(bytes).String()
}

// Next returns the next command.
func (r *Random) Next() calculator.Command {
	r.now += r.rand.Int64N(3)
	if dice := r.rand.IntN(100); dice < 4 && len(r.recent) > 0 {
		again := r.recent[r.rand.IntN(len(r.recent))]
		if dice == 0 {
			again.Data.Value = calculator.NumberOf(again.Data.Value.Float64() + 1)
		}
		return again
	}
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:], r.rand.Uint64())
	binary.BigEndian.PutUint64(id[8:], r.rand.Uint64())
	command := calculator.Command{ID: id.String(), Timestamp: r.now}
	command.Data.ValueID = ID(r.rand.IntN(r.values))
	command.Action, command.Data.Operation, command.Data.Value = r.content()
	if len(r.recent) < remembered {
		r.recent = append(r.recent, command)
	} else {
		r.recent[r.rand.IntN(remembered)] = command
	}
	return command
}

// content returns action, operation and value.
func (r *Random) content() (action, operation string, value calculator.Number) {
	switch dice := r.rand.IntN(100); {
	case dice < 25:
		return "CreateValue", "", calculator.NumberOf(float64(r.rand.IntN(2000)-1000) / 8)
	case dice < 65:
		return "UpdateValue", "ADD", calculator.NumberOf(r.rand.NormFloat64() * 1000)
	case dice < 94:
		return "UpdateValue", "MULTIPLY", calculator.NumberOf([]float64{-2, -1, 0.5, 2, 3, 0.1, 1.5}[r.rand.IntN(7)])
	case dice < 96:
		return "UpdateValue", "MULTIPLY", calculator.NumberOf(1e200) // overflows now and then
	case dice < 97:
		return "UpdateValue", "DIVIDE", calculator.NumberOf(2)
	case dice < 98:
		return "DeleteValue", "", calculator.NumberOf(0)
	case dice < 99:
		return "UpdateValue", "ADD", calculator.Number{}
	}
	return "UpdateValue", "MULTIPLY", calculator.NumberOf(0)
}
