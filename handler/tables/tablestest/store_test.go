package tablestest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStoreIsBounded(t *testing.T) {
	st := newStore()
	require.Nil(t, st.create("items"))
	write := func(op, rowKey string) *serviceError {
		c := change{op: op, partitionKey: "p", rowKey: rowKey, ifMatch: "*", properties: []property{newProperty("a", value{edm: edmString, text: strings.Repeat("x", 1000)})}}
		now := time.Date(2024, 1, 1, 0, 0, 0, 111_111_100, time.UTC) // its ticks print with as many digits for a while
		_, _, refusal := st.commit("items", []change{c}, now)
		return refusal
	}
	require.Nil(t, write(OpInsertEntity, "1"))
	one := st.size
	st.size = maxStored - 10
	require.Equal(t, errFull, write(OpInsertEntity, "2"))
	require.Equal(t, errFull, st.create("more"))
	require.Nil(t, write(OpUpdateEntity, "1"), "a replacement of the same size")
	require.Nil(t, write(OpDeleteEntity, "1"))
	st.size = tableBytes
	require.Nil(t, write(OpInsertEntity, "2"))
	require.Equal(t, one, st.size)
	require.Nil(t, st.drop("items"))
	require.Zero(t, st.size)
}

// benchmarkStore holds a partition of 30,000 entities of eight properties among others.
func benchmarkStore(b *testing.B) *store {
	st := newStore()
	require.Nil(b, st.create("items"))
	for i := range 30_000 {
		for _, p := range []string{"o", "p"} {
			c := change{op: OpInsertEntity, partitionKey: p, rowKey: fmt.Sprintf("%08d", i)}
			for j := range 7 {
				c.properties = append(c.properties, newProperty(fmt.Sprintf("p%d", j), value{edm: edmString, text: strings.Repeat("x", 50)}))
			}
			c.properties = append(c.properties, newProperty("n", value{edm: edmInt64, number: int64(i)}))
			_, _, refusal := st.commit("items", []change{c}, time.Now())
			require.Nil(b, refusal)
		}
	}
	return st
}

func BenchmarkQuery(b *testing.B) {
	s := &Server{store: benchmarkStore(b), now: time.Now}
	for _, top := range []int{1, 100, 1000} {
		for name, filter := range map[string]string{
			"page":   "PartitionKey eq 'p' and RowKey gt '00015000'",
			"sparse": "PartitionKey eq 'p' and n ge 29000L",
		} {
			b.Run(fmt.Sprintf("%s/%d", name, top), func(b *testing.B) {
				for b.Loop() {
					c, refusal := newCall("GET", target{kind: entitiesTarget, table: "items"}, "", nil, nil, "http://h")
					require.Nil(b, refusal)
					c.query.Set("$filter", filter)
					c.query.Set("$top", fmt.Sprint(top))
					a, refusal := s.execute(c)
					require.Nil(b, refusal)
					require.NotEmpty(b, a.body)
				}
			})
		}
	}
}

func BenchmarkInsert(b *testing.B) {
	s := &Server{store: benchmarkStore(b), now: time.Now}
	i := 0
	for b.Loop() {
		i++
		// newest first: every insertion moves the whole partition
		body := fmt.Sprintf(`{"PartitionKey":"p","RowKey":"!%08d","name":"%s","n":"%d","n@odata.type":"Edm.Int64"}`, 99_999_999-i, strings.Repeat("x", 300), i)
		c, refusal := newCall("POST", target{kind: entitiesTarget, table: "items"}, "", map[string][]string{"Content-Type": {"application/json"}}, []byte(body), "http://h")
		require.Nil(b, refusal)
		_, refusal = s.execute(c)
		require.Nil(b, refusal)
	}
}
