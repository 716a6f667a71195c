package main

import (
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A picture that is shrunk looks as before: what most pixels are stays as it is, and the
// rest is next to it.
func TestShrink(t *testing.T) {
	picture := image.NewRGBA(image.Rect(0, 0, 100, 100))
	background := color.RGBA{0xf3, 0xf4, 0xf7, 0xff}
	for i := range 100 * 100 {
		picture.Set(i%100, i/100, background)
		if i < 1000 { // more colours than a palette has
			picture.Set(i%100, i/100, color.RGBA{uint8(i % 50), uint8(i / 50), 0, 0xff})
		}
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "picture.png")
	f, err := os.Create(name)
	require.NoError(t, err)
	require.NoError(t, png.Encode(f, picture))
	require.NoError(t, f.Close())
	require.NoError(t, shrink(dir))

	f, err = os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	small, err := png.Decode(f)
	require.NoError(t, err)
	require.IsType(t, &image.Paletted{}, small)
	require.Equal(t, background, color.RGBAModel.Convert(small.At(50, 50)))
	for x := range 100 {
		was, is := picture.RGBAAt(x, 0), color.RGBAModel.Convert(small.At(x, 0)).(color.RGBA)
		require.InDelta(t, was.R, is.R, 50)
		require.InDelta(t, was.G, is.G, 50)
		require.Equal(t, uint8(0xff), is.A)
	}
}

func TestCommandsOfTheScreen(t *testing.T) {
	w := &world{screen: "Try it.\n\n  # 200  list\n  curl -i -H @/tmp/a http://localhost\n\n" +
		"  # 401  the article's\n  curl -i \\\n    -H @/tmp/b http://localhost\n\nmore\n"}
	one, err := w.command("list")
	require.NoError(t, err)
	require.Equal(t, "curl -i -H @/tmp/a http://localhost", one)
	two, err := w.command("article's")
	require.NoError(t, err)
	require.Equal(t, "curl -i \\\n  -H @/tmp/b http://localhost", two)
	_, err = w.command("nothing")
	require.ErrorContains(t, err, "nothing")
}

// What commands print is text, not HTML.
func TestAnswer(t *testing.T) {
	page := string(answer("HTTP/1.1 401 Unauthorized\r\nDate: now\r\nContent-Type: a\r\n\r\n" +
		`{"detail":"it's <b> & \"x\"","fix":"do > it"}`))
	require.True(t, strings.HasPrefix(page, "<b>HTTP/1.1 401 Unauthorized</b>\n<span class=\"quiet\">Content-Type: a</span>\n\n{"), page)
	require.Contains(t, page, "<mark>&#34;fix&#34;:&#34;do &gt; it&#34;</mark>")
	require.NotContains(t, page, "<b> ")
	require.Equal(t, `<b class="FAIL">FAIL</b>  a &lt;b&gt;`, string(verdicts("FAIL  a <b>\n")))
}
