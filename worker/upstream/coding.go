package upstream

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxCodings is the limit for the content codings of one body. A body with more is
// treated as an attack.
const maxCodings = 4

// minTextLength is the minimum length in bytes of a text in a charset other than UTF-8 to
// be recognized as text. 999 of 1000 random strings of this length contain a control
// character.
const minTextLength = 64

var (
	errDecodedLimit  = errors.New("the decoded body is over the limit")
	errUnknownCoding = errors.New("unknown content coding")
	errTrailing      = errors.New("data follows the encoded body")
	errNotEncoded    = errors.New("the body is not in its content coding")
)

// ignoredCodings are names that servers write into Content-Encoding by mistake: none of
// them changes the body. S3 leaves aws-chunked there, although it has decoded it.
var ignoredCodings = []string{
	"", "identity", "none", "null", "binary", "8bit", "7bit", "utf-8", "utf8", "utf-16", "us-ascii", "ascii",
	"iso-8859-1", "latin1", "windows-1252", "gb2312", "gbk", "gb18030", "big5", "shift_jis", "euc-jp", "aws-chunked",
}

// codingsOf returns the content codings of an answer in the order in which they
// were applied (RFC 9110, 8.4), in lower case; nil if there are none.
func codingsOf(header http.Header) []string {
	fields := header["Content-Encoding"]
	if len(fields) == 0 {
		return nil
	}
	var codings []string
	for _, field := range fields {
		for name := range strings.SplitSeq(field, ",") {
			name = strings.ToLower(strings.TrimSpace(name))
			if !slices.Contains(ignoredCodings, name) {
				codings = append(codings, name)
			}
		}
	}
	return codings
}

// joinCodings joins codings as in the header. The text becomes part of results, so its
// length is limited and it contains no control characters.
func joinCodings(codings []string) string {
	return sanitize([]byte(strings.Join(codings, ", ")), maxID)
}

// decodeCodings decodes body, the last coding first. It returns at most limit+1 bytes. A
// layer that is clearly not encoded is left as it is: some proxies decode the body and
// leave the header. With an error, decodeCodings returns what could be decoded of the
// layer that failed.
func decodeCodings(codings []string, body []byte, limit int64) ([]byte, error) {
	if len(codings) > maxCodings {
		return nil, fmt.Errorf("%d content codings", len(codings))
	}
	for i, coding := range slices.Backward(codings) {
		// An inner layer may be a little larger than its decoded form.
		most := limit
		if i > 0 {
			most = wireLimit(limit, true)
		}
		out, err := decodeOne(coding, body, most)
		if errors.Is(err, errNotEncoded) {
			if out, err = body, nil; !looksUnencoded(body) {
				err = errNotEncoded
			}
		}
		if err != nil && len(out) == 0 && i < len(codings)-1 {
			return body, err
		}
		if err != nil {
			return out, err
		}
		body = out
	}
	return body, nil
}

func decodeOne(coding string, body []byte, limit int64) ([]byte, error) {
	if len(body) == 0 {
		return nil, nil
	}
	switch coding {
	case "gzip", "x-gzip":
		return gunzip(body, limit)
	case "deflate":
		return inflate(body, limit)
	default:
		return nil, errUnknownCoding
	}
}

// gunzip decodes gzip members (RFC 1952) up to the end of body or to padding.
func gunzip(body []byte, limit int64) ([]byte, error) {
	if !hasPrefix(body, gzipMagic) {
		return nil, errNotEncoded
	}
	source := bytes.NewReader(body)
	z, err := gzip.NewReader(source)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for {
		z.Multistream(false)
		if err := decodeInto(&out, z, limit); err != nil {
			return out.Bytes(), err
		}
		// Look for padding only if no member follows. To search the rest after each of
		// many small members would take quadratic time.
		rest := body[len(body)-source.Len():]
		if !bytes.HasPrefix(rest, gzipMagic) {
			if isPadding(rest) {
				return out.Bytes(), nil
			}
			if !hasPrefix(rest, gzipMagic) {
				return out.Bytes(), errTrailing
			}
		}
		if err := z.Reset(source); err != nil {
			return out.Bytes(), err
		}
	}
}

var gzipMagic = []byte{0x1f, 0x8b}

// hasPrefix reports whether body begins with magic, or is itself a prefix of magic.
func hasPrefix(body, magic []byte) bool {
	return bytes.HasPrefix(body, magic[:min(len(body), len(magic))])
}

// inflate decodes "deflate", which is the zlib format (RFC 9110, 8.4.1.2); some
// servers send raw deflate data (RFC 1951) instead.
func inflate(body []byte, limit int64) ([]byte, error) {
	out, err := inflateBy(body, limit, zlib.NewReader)
	if err == nil || errors.Is(err, errDecodedLimit) {
		return out, err
	}
	raw, rawErr := inflateBy(body, limit, func(r io.Reader) (io.ReadCloser, error) { return flate.NewReader(r), nil })
	switch {
	case rawErr == nil:
		return raw, nil
	case !errors.Is(err, zlib.ErrHeader):
		return out, err
	case looksUnencoded(body):
		return nil, errNotEncoded
	default:
		return raw, rawErr
	}
}

func inflateBy(body []byte, limit int64, open func(io.Reader) (io.ReadCloser, error)) ([]byte, error) {
	source := bytes.NewReader(body)
	z, err := open(source)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	var out bytes.Buffer
	if err := decodeInto(&out, z, limit); err != nil {
		return out.Bytes(), err
	}
	if !isPadding(body[len(body)-source.Len():]) {
		return out.Bytes(), errTrailing
	}
	return out.Bytes(), nil
}

func decodeInto(out *bytes.Buffer, r io.Reader, limit int64) error {
	_, err := out.ReadFrom(io.LimitReader(r, limit+1-int64(out.Len())))
	if int64(out.Len()) > limit {
		return errDecodedLimit
	}
	return err
}

// isPadding reports whether the bytes after an encoded body have no meaning: they are
// white space and zeros, or repetitions of one byte.
func isPadding(rest []byte) bool {
	if len(rest) == 0 || len(bytes.Trim(rest, "\x00 \t\r\n")) == 0 {
		return true
	}
	return len(rest) > 1 && bytes.Count(rest, rest[:1]) == len(rest)
}

// looksUnencoded reports whether body is clearly not encoded: it is text, or a file with
// a known signature.
func looksUnencoded(body []byte) bool {
	if utf8.Valid(body) {
		return !bytes.ContainsFunc(body, func(r rune) bool { return r < ' ' && !strings.ContainsRune("\t\n\v\f\r\x1b", r) })
	}
	kind, parameters, err := mime.ParseMediaType(http.DetectContentType(body))
	if err != nil || kind == "application/octet-stream" || kind == "application/x-gzip" {
		return false
	}
	// In other charsets, only a long enough text without control characters can be
	// distinguished from random bytes.
	return kind != "text/plain" || strings.HasPrefix(parameters["charset"], "utf-16") || len(body) >= minTextLength
}
