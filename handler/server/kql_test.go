package server_test

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file evaluates the part of the Kusto Query Language that infra/queries is written
// in, over rows in memory: where, extend, project, summarize and order by, and what stands
// in them. What it does not have is an error. It is no emulator: types are those of Go.

type row = map[string]any

type expression func(row) any

type aggregate func(rows []row) any

type kql struct {
	now    time.Time
	tokens []string
	at     int
}

var kqlToken = regexp.MustCompile(`\s*("[^"]*"|[0-9]+(?:\.[0-9]+)?[smhd]?|[A-Za-z_][A-Za-z0-9_]*|==|!=|>=|<=|[-+*/<>=().,|])`)

// query evaluates source over the tables at a time.
func query(source string, now time.Time, tables map[string][]row) (rows []row, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("kql: %v", p)
		}
	}()
	q := &kql{now: now}
	rest := source
	for strings.TrimSpace(rest) != "" {
		m := kqlToken.FindStringSubmatchIndex(rest)
		if m == nil || m[0] != 0 {
			panic("unreadable: " + rest)
		}
		q.tokens = append(q.tokens, rest[m[2]:m[3]])
		rest = rest[m[1]:]
	}
	q.tokens = append(q.tokens, "")
	name := q.next()
	table, ok := tables[name]
	if !ok {
		panic("no table " + name)
	}
	rows = slices.Clone(table)
	for q.peek() == "|" {
		q.next()
		rows = q.step(rows)
	}
	if q.peek() != "" {
		panic("left over: " + q.peek())
	}
	return rows, nil
}

func (q *kql) peek() string { return q.tokens[q.at] }
func (q *kql) next() string { q.at++; return q.tokens[q.at-1] }

func (q *kql) take(token string) {
	if got := q.next(); got != token {
		panic(fmt.Sprintf("%q where %q should be", got, token))
	}
}

func (q *kql) step(rows []row) (out []row) {
	switch operator := q.next(); operator {
	case "where":
		keep := q.or()
		for _, r := range rows {
			if keep(r) == true {
				out = append(out, r)
			}
		}
	case "extend", "project":
		names, values := q.named()
		for _, r := range rows {
			made := row{}
			if operator == "extend" {
				for name, value := range r {
					made[name] = value
				}
			}
			for i, name := range names {
				made[name] = values[i](r)
			}
			out = append(out, made)
		}
	case "summarize":
		out = q.summarize(rows)
	case "order":
		q.take("by")
		by, direction := q.next(), q.next()
		out = slices.Clone(rows)
		slices.SortStableFunc(out, func(a, b row) int {
			c := compare(a[by], b[by])
			if direction == "desc" {
				return -c
			}
			return c
		})
	default:
		panic("no operator " + operator)
	}
	return out
}

// named reads name = expression, or a name alone, with commas between them.
func (q *kql) named() (names []string, values []expression) {
	for {
		name := q.peek()
		if q.tokens[q.at+1] == "=" {
			q.at += 2
		}
		names, values = append(names, name), append(values, q.sum())
		if q.peek() != "," {
			return names, values
		}
		q.next()
	}
}

func (q *kql) summarize(rows []row) (out []row) {
	var names []string
	var aggregates []aggregate
	for {
		names = append(names, q.next())
		q.take("=")
		aggregates = append(aggregates, q.aggregate())
		if q.peek() != "," {
			break
		}
		q.next()
	}
	var by []string
	var keys []expression
	if q.peek() == "by" {
		q.next()
		by, keys = q.named()
	}
	groups := map[string][]row{}
	firsts := map[string]row{}
	var order []string
	for _, r := range rows {
		key, first := "", row{}
		for i, name := range by {
			first[name] = keys[i](r)
			key += fmt.Sprintf("%v\n", first[name])
		}
		if _, seen := groups[key]; !seen {
			order, firsts[key] = append(order, key), first
		}
		groups[key] = append(groups[key], r)
	}
	if len(by) == 0 && len(order) == 0 {
		order, firsts[""] = []string{""}, row{}
	}
	for _, key := range order {
		made := firsts[key]
		for i, name := range names {
			made[name] = aggregates[i](groups[key])
		}
		out = append(out, made)
	}
	return out
}

func (q *kql) aggregate() aggregate {
	name := q.next()
	of := q.list()
	values := func(rows []row) (all []any) {
		for _, r := range rows {
			if v := of[0](r); v != nil {
				all = append(all, v)
			}
		}
		return all
	}
	switch name {
	case "sum", "sumif":
		return func(rows []row) any {
			total := 0.0
			for _, r := range rows {
				if n, ok := of[0](r).(float64); ok && (name == "sum" || of[1](r) == true) {
					total += n
				}
			}
			return total
		}
	case "max":
		return func(rows []row) any {
			if all := values(rows); len(all) > 0 {
				return slices.MaxFunc(all, compare)
			}
			return nil
		}
	case "dcount":
		return func(rows []row) any {
			seen := map[any]bool{}
			for _, v := range values(rows) {
				seen[v] = true
			}
			return float64(len(seen))
		}
	case "percentile":
		return func(rows []row) any {
			all := values(rows)
			if len(all) == 0 {
				return nil
			}
			slices.SortFunc(all, compare)
			rank := int(math.Ceil(of[1](nil).(float64)/100*float64(len(all)))) - 1
			return all[max(rank, 0)]
		}
	}
	panic("no aggregate " + name)
}

func (q *kql) or() expression {
	left := q.and()
	for q.peek() == "or" {
		q.next()
		a, b := left, q.and()
		left = func(r row) any { return a(r) == true || b(r) == true }
	}
	return left
}

func (q *kql) and() expression {
	left := q.comparison()
	for q.peek() == "and" {
		q.next()
		a, b := left, q.comparison()
		left = func(r row) any { return a(r) == true && b(r) == true }
	}
	return left
}

func (q *kql) comparison() expression {
	a := q.sum()
	operator := q.peek()
	switch operator {
	case "==", "!=", "<", ">", "<=", ">=":
		q.next()
		b := q.sum()
		return func(r row) any {
			x, y := a(r), b(r)
			if operator == "==" || operator == "!=" {
				return (x == y) == (operator == "==")
			}
			if x == nil || y == nil {
				return nil
			}
			c := compare(x, y)
			return c < 0 && operator[0] == '<' || c > 0 && operator[0] == '>' || c == 0 && len(operator) == 2
		}
	case "has":
		q.next()
		b := q.sum()
		return func(r row) any {
			return regexp.MustCompile(`(?i)\b` + regexp.QuoteMeta(b(r).(string)) + `\b`).MatchString(fmt.Sprint(a(r)))
		}
	case "in":
		q.next()
		all := q.list()
		return func(r row) any {
			return slices.ContainsFunc(all, func(b expression) bool { return a(r) == b(r) })
		}
	}
	return a
}

func (q *kql) sum() expression {
	return q.binary(q.product, "+", "-")
}

func (q *kql) product() expression { return q.binary(q.value, "*", "/") }

func (q *kql) binary(operand func() expression, operators ...string) expression {
	left := operand()
	for slices.Contains(operators, q.peek()) {
		operator, a, b := q.next(), left, operand()
		left = func(r row) any {
			x, ok1 := a(r).(float64)
			y, ok2 := b(r).(float64)
			if !ok1 || !ok2 {
				return nil
			}
			return map[string]func() float64{
				"+": func() float64 { return x + y }, "-": func() float64 { return x - y },
				"*": func() float64 { return x * y }, "/": func() float64 { return x / y },
			}[operator]()
		}
	}
	return left
}

func (q *kql) value() expression {
	token := q.next()
	switch {
	case token == "(":
		inner := q.or()
		q.take(")")
		return inner
	case token == "true", token == "false":
		return func(row) any { return token == "true" }
	case token[0] == '"':
		return func(row) any { return token[1 : len(token)-1] }
	case token[0] >= '0' && token[0] <= '9':
		if unit := strings.IndexByte("smhd", token[len(token)-1]); unit >= 0 {
			n, err := strconv.ParseFloat(token[:len(token)-1], 64)
			if err != nil {
				panic(err)
			}
			length := []time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour}[unit]
			return func(row) any { return time.Duration(n * float64(length)) }
		}
		n, err := strconv.ParseFloat(token, 64)
		if err != nil {
			panic(err)
		}
		return func(row) any { return n }
	case q.peek() == "(":
		return q.call(token)
	}
	path := []string{token}
	for q.peek() == "." {
		q.next()
		path = append(path, q.next())
	}
	return func(r row) any {
		v, there := r[path[0]]
		if !there {
			panic("no column " + path[0])
		}
		for _, name := range path[1:] {
			m, _ := v.(map[string]any)
			v = m[name]
		}
		return v
	}
}

// list reads expressions in parentheses, with commas between them.
func (q *kql) list() (of []expression) {
	q.take("(")
	for q.peek() != ")" {
		of = append(of, q.or())
		if q.peek() == "," {
			q.next()
		}
	}
	q.next()
	return of
}

func (q *kql) call(name string) expression {
	of := q.list()
	functions := map[string]func(...any) any{
		"ago":        func(a ...any) any { return q.now.Add(-a[0].(time.Duration)) },
		"bin":        func(a ...any) any { return a[0].(time.Time).Truncate(a[1].(time.Duration)) },
		"isnotempty": func(a ...any) any { return a[0] != nil && a[0] != "" },
		"parse_json": func(a ...any) any {
			var v map[string]any
			_ = json.Unmarshal([]byte(a[0].(string)), &v) // other lines are not JSON
			return v
		},
		"tostring": func(a ...any) any {
			if a[0] == nil {
				return ""
			}
			return fmt.Sprint(a[0])
		},
		"toint": number, "tolong": number, "todouble": number,
		"tobool": func(a ...any) any { return a[0] },
		"round": func(a ...any) any {
			scale := math.Pow(10, a[1].(float64))
			return math.Round(a[0].(float64)*scale) / scale
		},
		"substring": func(a ...any) any {
			s, from := a[0].(string), int(a[1].(float64))
			return s[min(from, len(s)):min(from+int(a[2].(float64)), len(s))]
		},
	}
	f, ok := functions[name]
	if !ok {
		panic("no function " + name)
	}
	return func(r row) any {
		values := make([]any, len(of))
		for i, e := range of {
			values[i] = e(r)
		}
		return f(values...)
	}
}

func number(a ...any) any {
	if n, ok := a[0].(float64); ok {
		return n
	}
	return nil
}

func compare(a, b any) int {
	switch x := a.(type) {
	case time.Time:
		return x.Compare(b.(time.Time))
	case float64:
		y := b.(float64)
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	case string:
		return strings.Compare(x, b.(string))
	}
	panic(fmt.Sprintf("cannot compare %T", a))
}
