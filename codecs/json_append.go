package codecs

import (
	"encoding/json/jsontext"
	"fmt"
	"math"
	"strconv"
)

// AppendJSONString adds a string as JSON to dst, for hand-written [JSONAppender] methods, as encoding/json/v2 would
// write it. A string that is not UTF-8 is an [ErrUnencodable].
func AppendJSONString[T ~string](dst []byte, text T) ([]byte, error) {
	if plainLength(text) < len(text) {
		quoted, err := jsontext.AppendQuote(dst, string(text))
		if err != nil {
			return dst, fmt.Errorf("writing a JSON string: %w: %w", ErrUnencodable, err)
		}
		return quoted, nil
	}
	dst = append(dst, '"')
	dst = append(dst, text...)
	return append(dst, '"'), nil
}

// AppendJSONFloat adds a number as JSON to dst, for hand-written [JSONAppender] methods, as encoding/json/v2 would
// write it: the shortest digits that give the same number again, in the format of RFC 8785, section 3.2.2.3, with
// negative zero as -0. NaN and infinities are an [ErrUnencodable].
func AppendJSONFloat(dst []byte, number float64) ([]byte, error) {
	magnitude := math.Abs(number)
	switch {
	case math.IsNaN(number) || math.IsInf(number, 0):
		return dst, fmt.Errorf("writing the JSON number %v: %w", number, ErrUnencodable)
	case magnitude < 1<<53 && number == math.Trunc(number) && (number != 0 || !math.Signbit(number)):
		return strconv.AppendInt(dst, int64(number), 10), nil
	case magnitude == 0 || magnitude >= 1e-6 && magnitude < 1e21:
		return strconv.AppendFloat(dst, number, 'f', -1, 64), nil
	}
	dst = strconv.AppendFloat(dst, number, 'e', -1, 64)
	// Exponents have at least two digits in Go, and only those they need in JSON.
	if n := len(dst); dst[n-4] == 'e' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst, nil
}
