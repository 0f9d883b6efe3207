// Loads pairs of addresses and ports into a set by google/nftables, in as many
// transactions as its socket's buffer makes necessary.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/google/nftables"
)

// More elements than these in one transaction do not fit a socket's buffer of
// the usual size.
const part = 4000

func main() {
	count, err := strconv.Atoi(os.Args[1])
	check(err)
	c := &nftables.Conn{}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "peer"})
	set := &nftables.Set{
		Table:         table,
		Name:          "pairs",
		KeyType:       nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService),
		Concatenation: true,
	}
	start := time.Now()
	check(c.AddSet(set, nil))
	check(c.Flush())
	var elements []nftables.SetElement
	for n := 0; n < count; n++ {
		key := make([]byte, 8)
		binary.BigEndian.PutUint32(key, 10<<24|uint32(n))
		binary.BigEndian.PutUint16(key[4:], uint16(1+n%65000))
		elements = append(elements, nftables.SetElement{Key: key})
		if len(elements) == part/4 {
			check(c.SetAddElements(set, elements))
			elements = nil
		}
		if (n+1)%part == 0 {
			check(c.Flush())
		}
	}
	if len(elements) > 0 {
		check(c.SetAddElements(set, elements))
	}
	check(c.Flush())
	fmt.Printf("%.6f\n", time.Since(start).Seconds())
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
