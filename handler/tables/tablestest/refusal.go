package tablestest

import (
	"fmt"
	"net/http"
	"time"
)

// serviceError is a refusal, with the codes of Microsoft's "Table Storage error codes".
type serviceError struct {
	status  int
	code    string
	message string
}

var (
	errTableNotFound = &serviceError{
		http.StatusNotFound,
		"TableNotFound",
		"The table specified does not exist.",
	}
	errTableAlreadyExists = &serviceError{
		http.StatusConflict,
		"TableAlreadyExists",
		"The table specified already exists.",
	}
	errResourceNotFound = &serviceError{
		http.StatusNotFound,
		"ResourceNotFound",
		"The specified resource does not exist.",
	}
	errEntityAlreadyExists = &serviceError{
		http.StatusConflict,
		"EntityAlreadyExists",
		"The specified entity already exists.",
	}
	errConditionNotSatisfied = &serviceError{
		http.StatusPreconditionFailed,
		"UpdateConditionNotSatisfied",
		"The update condition specified in the request was not satisfied.",
	}
	errDifferentPartitions = &serviceError{
		http.StatusBadRequest,
		"CommandsInBatchActOnDifferentPartitions",
		"All commands in a batch must operate on same entity group.",
	}
	errDuplicateRow = &serviceError{
		http.StatusBadRequest,
		"InvalidDuplicateRow",
		"The batch request contains multiple changes with same row key. An entity can appear only once in a batch " +
			"request.",
	}
	errPropertiesNeedValue = &serviceError{
		http.StatusBadRequest,
		"PropertiesNeedValue",
		"The values are not specified for all properties in the entity.",
	}
	errPropertyNameInvalid = &serviceError{
		http.StatusBadRequest,
		"PropertyNameInvalid",
		"The property name is invalid.",
	}
	errPropertyValueTooLarge = &serviceError{
		http.StatusBadRequest,
		"PropertyValueTooLarge",
		"The property value exceeds the maximum allowed size (64KB). If the property value is a string, it is " +
			"UTF-16 encoded and the maximum number of characters should be 32K or less.",
	}
	errTooManyProperties = &serviceError{
		http.StatusBadRequest,
		"TooManyProperties",
		"The entity contains more properties than allowed. Each entity can include up to 252 properties to store " +
			"data. Each entity also has 3 system properties.",
	}
	errEntityTooLarge = &serviceError{
		http.StatusBadRequest,
		"EntityTooLarge",
		"The entity is larger than the maximum allowed size (1MB).",
	}
	errBodyTooLarge = &serviceError{
		http.StatusRequestEntityTooLarge,
		"RequestBodyTooLarge",
		"The request body is too large and exceeds the maximum permissible limit.",
	}
	errNotImplemented = &serviceError{
		http.StatusNotImplemented,
		"NotImplemented",
		"The requested operation is not implemented on the specified resource.",
	}
	errMethodNotAllowed = &serviceError{
		http.StatusMethodNotAllowed,
		"MethodNotAllowed",
		"The requested method is not allowed on the specified resource.",
	}
	errFormatNotSupported = &serviceError{
		http.StatusUnsupportedMediaType,
		"AtomFormatNotSupported",
		"Atom format is not supported.",
	}
	errFull = &serviceError{
		http.StatusInsufficientStorage,
		"InsufficientStorage",
		"This server keeps at most 1 GiB in memory, and that is full. Delete a table or restart it.",
	}
)

func invalidInput(format string, args ...any) *serviceError {
	return &serviceError{http.StatusBadRequest, "InvalidInput", fmt.Sprintf(format, args...)}
}

func outOfRange(name, value string) *serviceError {
	return &serviceError{
		http.StatusBadRequest,
		"OutOfRangeInput",
		fmt.Sprintf("The '%s' parameter of value '%.100s' is out of range.", name, value),
	}
}

func authenticationFailed(why string) *serviceError {
	return &serviceError{
		http.StatusForbidden, "AuthenticationFailed",
		"Server failed to authenticate the request. Make sure the value of Authorization header is formed " +
			"correctly including the signature. (" + why + ")",
	}
}

// inTransaction puts the failing operation's index before the message, as Azure does for a transaction of several
// operations. For a transaction of one it does not.
func (e *serviceError) inTransaction(index, operations int) *serviceError {
	if operations < 2 {
		return e
	}
	return &serviceError{e.status, e.code, fmt.Sprintf("%d:%s", index, e.message)}
}

func (e *serviceError) answer(level metadata, requestID string, now time.Time) *answer {
	message := fmt.Sprintf("%s\nRequestId:%s\nTime:%s", e.message, requestID, formatTicks(ticks(now.UTC())))
	a := &answer{status: e.status, header: http.Header{}}
	a.header.Set("Content-Type", level.contentType())
	a.body = fmt.Appendf(
		nil,
		`{"odata.error":{"code":%s,"message":{"lang":"en-US","value":%s}}}`,
		quote(e.code),
		quote(message),
	)
	return a
}
