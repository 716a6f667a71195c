package tablestest

import (
	"encoding/hex"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxComparisons = 15
	maxDepth       = 100 // of parentheses and nots
)

// filter is a parsed $filter: what must match, and which keys can.
type filter struct {
	root          expression // nil matches everything
	partitionKeys keys
	rowKeys       keys
}

func (f *filter) matches(e *entity) bool { return f.root == nil || f.root.matches(e) }

// expression is a node of a filter. A comparison with a property that an entity lacks, or of another type, is false,
// also with ne.
type expression interface{ matches(*entity) bool }

type (
	andExpression []expression
	orExpression  []expression
	notExpression struct{ operand expression }
	comparison    struct {
		property string
		operator string
		literal  value
	}
)

func (x andExpression) matches(e *entity) bool {
	for _, operand := range x {
		if !operand.matches(e) {
			return false
		}
	}
	return true
}

func (x orExpression) matches(e *entity) bool {
	for _, operand := range x {
		if operand.matches(e) {
			return true
		}
	}
	return false
}

func (x notExpression) matches(e *entity) bool { return !x.operand.matches(e) }

func (c comparison) matches(e *entity) bool {
	v, ok := e.get(c.property)
	if !ok {
		return false
	}
	order, ok := compareValues(v, c.literal)
	if !ok {
		return false
	}
	switch c.operator {
	case "eq":
		return order == 0
	case "ne":
		return order != 0
	case "gt":
		return order > 0
	case "ge":
		return order >= 0
	case "lt":
		return order < 0
	}
	return order <= 0
}

// parseFilter reads the part of OData's filter language that the Table service understands
// (Microsoft, "Querying tables and entities"): comparisons of a property with a literal,
// and, or, not, parentheses. As OData has it, not binds more tightly than a comparison, so
// that its operand needs parentheses.
func parseFilter(source string) (*filter, *serviceError) {
	f := &filter{}
	if source == "" {
		return f, nil
	}
	p := &filterParser{source: source}
	p.advance()
	root, ok := p.or()
	if ok && p.token.kind != endToken {
		ok = p.fail()
	}
	if !ok {
		return nil, p.refusal
	}
	f.root = root
	for _, operand := range conjunction(root) {
		if c, ok := operand.(comparison); ok && c.literal.edm == edmString {
			switch c.property {
			case "PartitionKey":
				f.partitionKeys.narrow(c.operator, c.literal.text)
			case "RowKey":
				f.rowKeys.narrow(c.operator, c.literal.text)
			}
		}
	}
	return f, nil
}

// conjunction lists what must all hold for x to hold.
func conjunction(x expression) []expression {
	and, ok := x.(andExpression)
	if !ok {
		return []expression{x}
	}
	var all []expression
	for _, operand := range and {
		all = append(all, conjunction(operand)...)
	}
	return all
}

type tokenKind int

const (
	badToken tokenKind = iota
	endToken
	openToken
	closeToken
	nameToken    // text
	literalToken // literal
)

type filterToken struct {
	kind    tokenKind
	text    string
	literal value
}

type filterParser struct {
	source      string
	next        int // where the current token ends
	token       filterToken
	depth       int
	comparisons int
	refusal     *serviceError
}

func (p *filterParser) fail() bool {
	if p.refusal == nil {
		p.refusal = invalidInput("Syntax error at position %d in '%.200s'.", p.next, p.source)
	}
	return false
}

func (p *filterParser) is(word string) bool { return p.token.kind == nameToken && p.token.text == word }

func (p *filterParser) or() (expression, bool) {
	operands, ok := p.list("or", func() (expression, bool) { return p.list("and", p.unary, and) }, or)
	return operands, ok
}

func and(operands []expression) expression { return andExpression(operands) }
func or(operands []expression) expression  { return orExpression(operands) }

func (p *filterParser) list(
	operator string,
	operand func() (expression, bool),
	join func([]expression) expression,
) (expression, bool) {
	var operands []expression
	for {
		x, ok := operand()
		if !ok {
			return nil, false
		}
		operands = append(operands, x)
		if !p.is(operator) {
			break
		}
		p.advance()
	}
	if len(operands) == 1 {
		return operands[0], true
	}
	return join(operands), true
}

func (p *filterParser) unary() (expression, bool) {
	p.depth++
	defer func() { p.depth-- }()
	if p.depth > maxDepth {
		return nil, p.fail()
	}
	if p.is("not") {
		p.advance()
		if p.token.kind != openToken && !p.is("not") {
			return nil, p.fail()
		}
		operand, ok := p.unary()
		return notExpression{operand}, ok
	}
	if p.token.kind == openToken {
		p.advance()
		x, ok := p.or()
		if !ok {
			return nil, false
		}
		if p.token.kind != closeToken {
			return nil, p.fail()
		}
		p.advance()
		return x, true
	}
	return p.comparison()
}

func (p *filterParser) comparison() (expression, bool) {
	if p.token.kind != nameToken || isReserved(p.token.text) {
		return nil, p.fail()
	}
	c := comparison{property: p.token.text}
	p.advance()
	if p.token.kind == openToken {
		p.refusal = errNotImplemented // a function, such as startswith
		return nil, false
	}
	if p.token.kind != nameToken || !isComparison(p.token.text) {
		return nil, p.fail()
	}
	c.operator = p.token.text
	p.advance()
	if p.token.kind != literalToken {
		return nil, p.fail()
	}
	c.literal = p.token.literal
	p.comparisons++
	if p.comparisons > maxComparisons {
		p.refusal = invalidInput("The filter has more than %d comparisons.", maxComparisons)
		return nil, false
	}
	p.advance()
	return c, true
}

func isComparison(word string) bool {
	switch word {
	case "eq", "ne", "gt", "ge", "lt", "le":
		return true
	}
	return false
}

func isReserved(word string) bool {
	return isComparison(word) || word == "and" || word == "or" || word == "not"
}

// advance reads the next token. Words and literals must be apart from each other.
func (p *filterParser) advance() {
	rest := strings.TrimLeft(p.source[p.next:], " \t")
	p.token = filterToken{}
	p.next = len(p.source) - len(rest)
	if rest == "" {
		p.token.kind = endToken
		return
	}
	end := 0
	switch c := rest[0]; {
	case c == '(':
		p.token.kind, end = openToken, 1
	case c == ')':
		p.token.kind, end = closeToken, 1
	case c == '\'':
		end = p.quoted(rest, 0, edmString)
	case c == '-' || c >= '0' && c <= '9':
		end = p.number(rest)
	default:
		end = p.word(rest)
	}
	if end < len(rest) && p.token.kind >= nameToken && !strings.ContainsRune(" \t()", rune(rest[end])) {
		p.token.kind = badToken
	}
	p.next += end
}

func (p *filterParser) word(rest string) (end int) {
	for end < len(rest) {
		r, size := utf8.DecodeRuneInString(rest[end:])
		if !isIdentifierRune(r, end == 0) {
			break
		}
		end += size
	}
	word := rest[:end]
	if end < len(rest) && rest[end] == '\'' {
		switch word {
		case "datetime":
			return p.quoted(rest, end, edmDateTime)
		case "guid":
			return p.quoted(rest, end, edmGuid)
		case "X", "binary":
			return p.quoted(rest, end, edmBinary)
		}
	}
	switch word {
	case "true", "false":
		p.token.kind = literalToken
		p.token.literal = value{edm: edmBoolean}
		if word == "true" {
			p.token.literal.number = 1
		}
	case "", "null":
	default:
		p.token.kind, p.token.text = nameToken, word
	}
	return end
}

// quoted reads a literal whose opening quote is at rest[open].
func (p *filterParser) quoted(rest string, open int, edm string) (end int) {
	text, after, ok := cutQuoted(rest[open:])
	if !ok {
		return len(rest)
	}
	v := value{edm: edm, text: text}
	var err error
	switch edm {
	case edmDateTime:
		v.text = ""
		v.number, err = parseDateTime(text)
	case edmGuid:
		v.text = strings.ToLower(text)
		ok = guidPattern.MatchString(text)
	case edmBinary:
		var b []byte
		b, err = hex.DecodeString(text)
		v.text = string(b)
	}
	if ok && err == nil {
		p.token.kind, p.token.literal = literalToken, v
	}
	return len(rest) - len(after)
}

// cutQuoted reads a quoted string, in which a doubled quote stands for one.
func cutQuoted(s string) (text, after string, ok bool) {
	if s == "" || s[0] != '\'' {
		return "", s, false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] != '\'':
			b.WriteByte(s[i])
		case i+1 < len(s) && s[i+1] == '\'':
			b.WriteByte('\'')
			i++
		default:
			return b.String(), s[i+1:], true
		}
	}
	return "", s, false
}

func (p *filterParser) number(rest string) (end int) {
	end = strings.IndexAny(rest, " \t()")
	if end < 0 {
		end = len(rest)
	}
	text := rest[:end]
	var v value
	var err error
	if digits, ok := strings.CutSuffix(text, "L"); ok {
		v.edm = edmInt64
		v.number, err = strconv.ParseInt(digits, 10, 64)
	} else if strings.Trim(text, "-0123456789") == "" {
		v.edm = edmInt32
		v.number, err = strconv.ParseInt(text, 10, 32)
	} else if strings.Trim(text, "+-0123456789.eE") == "" {
		v.edm = edmDouble
		v.double, err = strconv.ParseFloat(text, 64)
	} else {
		return end
	}
	if err == nil {
		p.token.kind, p.token.literal = literalToken, v
	}
	return end
}
