// Keeps notes in memory that C has allocated: GET /WORD adds one and answers with all of them. PORT is the first argument.
package main

/*
#include <stdlib.h>
#include <string.h>

static char *notes;

static char *add(const char *word) {
	size_t had = notes ? strlen(notes) : 0;
	notes = realloc(notes, had + strlen(word) + 2);
	if (had) strcpy(notes + had, " ");
	strcpy(notes + had + (had > 0), word);
	return notes;
}
*/
import "C"

import (
	"io"
	"log"
	"net/http"
	"os"
	"sync"
	"unsafe"
)

func main() {
	var lock sync.Mutex
	all := ""
	http.HandleFunc("/", func(answer http.ResponseWriter, request *http.Request) {
		lock.Lock()
		defer lock.Unlock()
		if word := request.URL.Path[1:]; word != "" {
			text := C.CString(word)
			all = C.GoString(C.add(text))
			C.free(unsafe.Pointer(text))
		}
		io.WriteString(answer, all)
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
