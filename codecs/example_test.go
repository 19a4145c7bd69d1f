package codecs_test

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/tidemill/tidemill/codecs"
)

type temperature struct {
	Place   string  `json:"place"`
	Celsius float64 `json:"celsius"`
}

func ExampleJSON() {
	codec := codecs.JSON[temperature]()
	data, err := codec.Append(nil, temperature{Place: "Oslo", Celsius: -4.5})
	fmt.Printf("%s %v\n", data, err)

	_, err = codec.Decode([]byte(`{"place":"Oslo","celsius":-4.5,"wind":3}`))
	fmt.Println(errors.Is(err, codecs.ErrUnknownField))
	_, err = codec.Decode([]byte(`{"place":"Oslo","place":"Rome"}`))
	fmt.Println(errors.Is(err, codecs.ErrMalformed))
	// Output:
	// {"place":"Oslo","celsius":-4.5} <nil>
	// true
	// true
}

func ExampleAllowUnknown() {
	codec := codecs.JSON[temperature](codecs.AllowUnknown())
	fmt.Println(codec.Decode([]byte(`{"place":"Oslo","celsius":-4.5,"wind":3}`)))
	// Output: {Oslo -4.5} <nil>
}

// point writes and reads its own JSON, several times as fast as reflection does.
type point struct{ X, Y int64 }

func (p point) AppendJSON(dst []byte) ([]byte, error) {
	dst = strconv.AppendInt(append(dst, `{"x":`...), p.X, 10)
	dst = strconv.AppendInt(append(dst, `,"y":`...), p.Y, 10)
	return append(dst, '}'), nil
}

func (p *point) DecodeJSON(data []byte) error {
	r := codecs.NewJSONReader(data)
	r.BeginObject()
	for r.NextMember() {
		switch string(r.Name()) {
		case "x":
			p.X = r.Int64()
		case "y":
			p.Y = r.Int64()
		default:
			r.Unknown()
		}
	}
	return r.End()
}

func ExampleJSONReader() {
	codec := codecs.JSON[point]()
	data, err := codec.Append(nil, point{X: 1, Y: -2})
	fmt.Printf("%s %v\n", data, err)
	fmt.Println(codec.Decode([]byte(`{"y": 5, "x": 4}`)))
	_, err = codec.Decode([]byte(`{"x": 4, "x": 5}`))
	fmt.Println(err)
	// Output:
	// {"x":1,"y":-2} <nil>
	// {4 5} <nil>
	// decoding JSON as codecs_test.point: at byte 13: malformed: duplicate member "x"
}

func ExampleInt64() {
	java, _ := codecs.Int64().Append(nil, -1)
	ordered, _ := codecs.OrderedInt64().Append(nil, -1)
	fmt.Printf("% x\n% x\n", java, ordered)
	// Output:
	// ff ff ff ff ff ff ff ff
	// 7f ff ff ff ff ff ff ff
}

func ExampleDecimal() {
	price, err := codecs.ParseDecimal("19.90")
	if err != nil {
		fmt.Println(err)
		return
	}
	total, err := price.Mul(codecs.DecimalFromInt(3))
	fmt.Println(price, total.Fixed(2), total.Cmp(codecs.DecimalFromInt(50)), err)
	_, err = codecs.ParseDecimal("1e999999999")
	fmt.Println(err)
	// Output:
	// 19.9 59.70 1 <nil>
	// reading a decimal: malformed: a decimal has more than 100 digits before the point
}

func ExampleConvert() {
	type celsius float64
	codec := codecs.Convert(codecs.Float64(),
		func(c celsius) (float64, error) { return float64(c), nil },
		func(f float64) (celsius, error) { return celsius(f), nil })
	data, err := codec.Append(nil, 20)
	fmt.Printf("% x %v\n", data, err)
	// Output: 40 34 00 00 00 00 00 00 <nil>
}

// Version 2 of the message says "place" where version 1 said "city".
func ExampleVersioned() {
	codec := codecs.VersionedJSON[temperature]("temperature", 2,
		codecs.UpcastObject(1, func(o *codecs.Object) error { return o.Rename("city", "place") }))

	value := temperature{Place: "Oslo", Celsius: -4.5}
	body, err := codec.Append(nil, value)
	fmt.Printf("%s %v\n", body, err)
	for _, header := range codec.AppendHeaders(nil, value) {
		fmt.Printf("%s: %s\n", header.Key, header.Value)
	}

	// A producer that knows nothing of versions wrote version 1.
	fmt.Println(codec.DecodeWithHeaders(nil, []byte(`{"city":"Rome","celsius":21}`)))

	headers, _ := codecs.AppendHeaders(nil, "temperature", 3)
	_, err = codec.DecodeWithHeaders(headers, []byte(`{}`))
	fmt.Println(err)
	// Output:
	// {"place":"Oslo","celsius":-4.5} <nil>
	// tidemill-type: temperature
	// tidemill-version: 2
	// {Rome 21} <nil>
	// decoding temperature: newer schema version: the record has 3, known are versions up to 2
}

// A program of version 2 changes a record of version 3 and loses nothing of it.
func ExampleEnveloped() {
	codec := codecs.Enveloped(codecs.Schema[temperature]{
		Types:         []codecs.Type[temperature]{{Name: "temperature", Version: 2, Body: codecs.JSON[temperature]()}},
		TolerateNewer: true,
	})
	headers, _ := codecs.AppendHeaders(nil, "temperature", 3)
	envelope, err := codec.DecodeWithHeaders(headers, []byte(`{"place":"Oslo","celsius":-4.5,"wind":3}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	envelope.Value.Celsius++
	body, err := codec.Append(nil, envelope)
	fmt.Printf("%s %v\n", body, err)
	fmt.Printf("version %s\n", codec.AppendHeaders(nil, envelope)[1].Value)
	// Output:
	// {"place":"Oslo","celsius":-3.5,"wind":3} <nil>
	// version 3
}

func ExampleVariant() {
	codec := codecs.Versioned(codecs.Schema[fmt.Stringer]{
		Types: []codecs.Type[fmt.Stringer]{
			{Name: "decimal", Version: 1, Body: codecs.Variant[fmt.Stringer](codecs.DecimalText())},
			{Name: "quoted", Version: 1, Body: codecs.Variant[fmt.Stringer](codecs.JSON[codecs.QuotedDecimal]())},
		},
		TypeOf: func(value fmt.Stringer) string {
			if _, quoted := value.(codecs.QuotedDecimal); quoted {
				return "quoted"
			}
			return "decimal"
		},
	})
	data, err := codec.InBand().Append(nil, codecs.DecimalFromInt(5))
	fmt.Printf("%q %v\n", data, err)
	value, err := codec.InBand().Decode([]byte("\xf7\x06quoted\x01\"7\""))
	fmt.Printf("%T %v %v\n", value, value, err)
	// Output:
	// "\xf7\adecimal\x015" <nil>
	// codecs.QuotedDecimal 7 <nil>
}
